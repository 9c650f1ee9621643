/* A pool of waiting threads, one for the process: a job is run by the caller and by as many workers as it wants.
 *
 * A worker that has nothing to do spins for some microseconds (a training step forks and joins that often), then gives
 * its turn away, then sleeps. Workers are made when first wanted. A forked child begins without any.
 */
#define _POSIX_C_SOURCE 200809L /* sigset_t, pthread_sigmask */
#include "fastbp.h"
#include "float_mode.h"

#if defined(_WIN32)

void fbp_pool_run(int32_t n_threads, fbp_job job, void *argument)
{
    (void)n_threads;
    job(argument, 0);
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#define MOST_THREADS 255
#define SPINS 1000       /* about 10 microseconds */
#define YIELDS 50

static struct {
    pthread_mutex_t owner;      /* held by the thread whose job runs */
    pthread_mutex_t lock;       /* guards sleeping workers */
    pthread_cond_t wake;
    int32_t n_workers, n_sleeping, handles_fork;
    uint64_t order;             /* number of the job << 8 | how many threads it wants: one word, so that a worker that is
                                   not wanted never looks at a job that may be gone */
    fbp_job job;
    void *argument;
    int32_t running;
    uint64_t float_mode;        /* the caller's, and while they work the workers': some libraries change it in the thread
                                   that imports them, and bits must not depend on who does what */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t await_order(uint64_t seen)
{
    uint64_t order;
    for (int32_t i = 0; i < SPINS + YIELDS; i++) {
        if ((order = __atomic_load_n(&pool.order, __ATOMIC_ACQUIRE)) != seen) return order;
        if (i < SPINS) relax();
        else sched_yield();
    }
    pthread_mutex_lock(&pool.lock);
    __atomic_add_fetch(&pool.n_sleeping, 1, __ATOMIC_SEQ_CST);
    while ((order = __atomic_load_n(&pool.order, __ATOMIC_SEQ_CST)) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
    __atomic_sub_fetch(&pool.n_sleeping, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.lock);
    return order;
}

static void *work(void *number)
{
    const int32_t thread = (int32_t)(intptr_t)number;
    uint64_t seen = 0;
    for (;;) {
        seen = await_order(seen);
        if (thread >= (int32_t)(seen & 0xff)) continue;
        fbp_set_float_mode(pool.float_mode);
        pool.job(pool.argument, thread);
        __atomic_sub_fetch(&pool.running, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void forget_workers(void)
{
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.n_workers = pool.n_sleeping = pool.running = 0;
    pool.order = 0;
}

/* As many workers as wanted, or as can be had; they take no signals. */
static int32_t hire(int32_t wanted)
{
    if (!pool.handles_fork) pool.handles_fork = pthread_atfork(NULL, NULL, forget_workers) == 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.n_workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(pool.n_workers + 1)) != 0) break;
        pthread_detach(thread);
        pool.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool.n_workers < wanted ? pool.n_workers : wanted;
}

void fbp_pool_run(int32_t n_threads, fbp_job job, void *argument)
{
    if (n_threads > MOST_THREADS) n_threads = MOST_THREADS;
    if (n_threads < 2 || pthread_mutex_trylock(&pool.owner) != 0) {
        job(argument, 0);
        return;
    }
    const int32_t helpers = pool.n_workers >= n_threads - 1 ? n_threads - 1 : hire(n_threads - 1);
    pool.job = job;
    pool.argument = argument;
    pool.float_mode = fbp_float_mode();
    __atomic_store_n(&pool.running, helpers, __ATOMIC_RELAXED);
    const uint64_t order = ((pool.order >> 8) + 1) << 8 | (uint64_t)(helpers + 1);
    __atomic_store_n(&pool.order, order, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.n_sleeping, __ATOMIC_SEQ_CST) > 0) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    job(argument, 0);
    for (int32_t i = 0; __atomic_load_n(&pool.running, __ATOMIC_ACQUIRE) > 0; i += i < SPINS) {
        if (i < SPINS) relax();
        else sched_yield();
    }
    pthread_mutex_unlock(&pool.owner);
}

#endif
