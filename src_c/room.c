/* Memory that the ranks of one machine share: votes, sums and copies without a message. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#endif
#include "fastbp.h"

#include <time.h>
#if !defined(_WIN32)
#include <sched.h>
#endif

#define YIELDS 2000
#define NAPS_BETWEEN_CALLS 200 /* of 100 microseconds */
#define BLOCK 2048             /* elements that are added up while they are in the cache */

static void pass_time(const fbp_room *room, int64_t turn)
{
    if (turn < room->spins) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
        return;
    }
#if !defined(_WIN32)
    if (turn < room->spins + YIELDS) {
        sched_yield();
        return;
    }
    const struct timespec nap = {0, 100000};
    nanosleep(&nap, NULL);
#endif
}

/* Waits for a rank; returns 1 where it gives up. */
static int32_t await_rank(const fbp_room *room, int64_t rank)
{
    for (int64_t i = 0; __atomic_load_n(&room->seats[rank].turn, __ATOMIC_ACQUIRE) < room->turn; i++) {
        pass_time(room, i);
        if (i > room->spins + YIELDS && i % NAPS_BETWEEN_CALLS == 0 && room->wait(room->owner)) return 1;
    }
    return 0;
}

int32_t fbp_vote(fbp_room *room, double *numbers)
{
    fbp_seat *own = &room->seats[room->rank];
    const int64_t place = ++room->turn % 2;
    memcpy(own->numbers[place], numbers, sizeof own->numbers[place]);
    __atomic_store_n(&own->turn, room->turn, __ATOMIC_RELEASE);
    memset(numbers, 0, sizeof own->numbers[place]);
    for (int64_t r = 0; r < room->size; r++) {
        if (await_rank(room, r)) return 1;
        for (int64_t i = 0; i < FBP_SUMS; i++) numbers[i] += room->seats[r].numbers[place][i];
    }
    return numbers[FBP_SUM_FAILED] > 0;
}

static void add_f32(float *restrict to, const float *restrict more, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += more[i];
}

static void add_f64(double *restrict to, const double *restrict more, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += more[i];
}

/* Copies the parts of all ranks but this one's. */
static void copy_others(const fbp_room *room, char *to, const char *from, int64_t item)
{
    const int64_t first = room->bounds[room->rank] * item, last = room->bounds[room->rank + 1] * item;
    const int64_t end = room->bounds[room->size] * item;
    memcpy(to, from, (size_t)first);
    memcpy(to + last, from + last, (size_t)(end - last));
}

static void copy_own(const fbp_room *room, char *to, const char *from, int64_t item)
{
    const int64_t first = room->bounds[room->rank] * item, last = room->bounds[room->rank + 1] * item;
    memcpy(to + first, from + first, (size_t)(last - first));
}

/* Adds to this rank's part of the gradients what the others have of it, in the order of ranks. */
static void add_up(const fbp_room *room, char *gradients)
{
    const int64_t item = room->dtype ? 8 : 4, last = room->bounds[room->rank + 1];
    for (int64_t i = room->bounds[room->rank]; i < last; i += BLOCK) {
        const int64_t n = i + BLOCK < last ? BLOCK : last - i;
        for (int64_t r = 0; r < room->size; r++) {
            if (r == room->rank) continue;
            const char *more = room->gradients + r * room->stride + i * item;
            if (room->dtype) add_f64((double *)(gradients + i * item), (const double *)more, n);
            else add_f32((float *)(gradients + i * item), (const float *)more, n);
        }
    }
}

int32_t fbp_meet_in_room(void *place, fbp_occasion occasion, fbp_update_plan *update, double *numbers)
{
    fbp_room *room = place;
    const int64_t item = update->item_size;
    char *gradients = fbp_room_gradients(room);
    const int32_t moved = update->parameters == room->vector;      /* others see what this rank writes */
    if (occasion == FBP_MEET_BATCH && update->gradients != gradients) copy_others(room, gradients, update->gradients, item);
    if (occasion == FBP_MEET_PARAMETERS && !moved) copy_own(room, room->vector, update->parameters, item);
    if (fbp_vote(room, numbers)) return 1;
    if (occasion == FBP_MEET_BATCH) add_up(room, update->gradients);
    if (occasion == FBP_MEET_PARAMETERS && !moved) copy_others(room, update->parameters, room->vector, item);
    return 0;
}

/* Lets each rank write to `vector`, of which nobody reads any more what was there, and all read it then. */
static int32_t exchange(fbp_room *room, const char *from, int64_t first, int64_t last)
{
    double none[FBP_SUMS] = {0};
    const int64_t item = room->dtype ? 8 : 4;
    if (fbp_vote(room, none)) return 1;
    memcpy(room->vector + first * item, from + first * item, (size_t)((last - first) * item));
    return fbp_vote(room, none);
}

int32_t fbp_give(fbp_room *room, const char *from)
{
    return exchange(room, from, room->bounds[room->rank], room->bounds[room->rank + 1]);
}

int32_t fbp_collect(fbp_room *room, char *vector)
{
    if (fbp_give(room, vector)) return 1;
    copy_others(room, vector, room->vector, room->dtype ? 8 : 4);
    return 0;
}

int32_t fbp_broadcast(fbp_room *room, char *vector)
{
    if (exchange(room, vector, 0, room->rank ? 0 : room->bounds[room->size])) return 1;
    if (room->rank) memcpy(vector, room->vector, (size_t)(room->bounds[room->size] * (room->dtype ? 8 : 4)));
    return 0;
}

void fbp_leave_room(fbp_room *room, char *parameters, char *gradients)
{
    const int64_t item = room->dtype ? 8 : 4;
    memcpy(parameters, room->vector, (size_t)(room->bounds[room->size] * item));
    copy_own(room, gradients, fbp_room_gradients(room), item);
}
