/* Drives the thread pool the way training does, for ThreadSanitizer: many short jobs with changing numbers of threads,
 * from several threads at once, with forks in between. tools/sanitize.sh builds and runs it; it prints how many jobs
 * ran and returns 0 if each did all its work exactly once.
 */
#define _POSIX_C_SOURCE 200809L
#include "fastbp.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TASKS 64
#define CALLERS 3

typedef struct {
    int64_t next;
    int64_t done[TASKS];       /* written without atomics: by one thread each, and read after the join */
} work;

static void claim(void *argument, int32_t thread)
{
    work *w = argument;
    (void)thread;
    int64_t task;
    while ((task = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < TASKS) w->done[task] += task + 1;
}

static int run_jobs(int64_t n_jobs, int32_t salt)
{
    int bad = 0;
    for (int64_t job = 0; job < n_jobs; job++) {
        work w;
        memset(&w, 0, sizeof w);
        fbp_pool_run(1 + (int32_t)((job * 7 + salt) % 9), claim, &w);
        for (int64_t task = 0; task < TASKS; task++) bad += w.done[task] != task + 1;
        if (job % 97 == 0) {      /* long enough for the workers to fall asleep */
            const struct timespec pause = {0, 2000000};
            nanosleep(&pause, NULL);
        }
    }
    return bad;
}

static void *call(void *salt)
{
    return (void *)(intptr_t)run_jobs(2000, (int32_t)(intptr_t)salt);
}

static int in_a_child(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)  /* the locks of their own that a fork copies stay held */
    return 0;
#else
    const pid_t child = fork();
    if (child == 0) _exit(run_jobs(50, 3) != 0);
    int status = 1;
    waitpid(child, &status, 0);
    return status != 0;
#endif
}

int main(void)
{
    int bad = run_jobs(2000, 0);
    pthread_t threads[CALLERS];
    for (intptr_t i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, call, (void *)i);
    for (int i = 0; i < 5; i++) bad += in_a_child();
    for (int i = 0; i < CALLERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (int)(intptr_t)result;
    }
    bad += run_jobs(200, 5);
    printf("pool_driver: %d jobs, %d wrong\n", 2000 + CALLERS * 2000 + 200, bad);
    return bad != 0;
}
