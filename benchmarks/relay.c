/* A switch between hosts that are network namespaces (hosts.py), with links of a given rate, delay and loss, as `tc netem`
 * makes them.
 *
 *     relay BITS_A_SECOND DELAY_SECONDS LOSS FD...
 *
 * FD k is the TUN device of the host whose address ends in k + 1, opened with IFF_NO_PI | IFF_VNET_HDR. A packet leaves
 * its host when the link has sent those before it, and arrives a delay later. The switch ends when its standard input
 * does. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HOSTS = 16, HEADER = 10, MOST_BYTES = 65536 + 64, QUEUED = 4096, AT_ONCE = 16 };

typedef struct packet {
    double due;
    int to;
    ssize_t length;
    unsigned char *bytes;
} packet;

typedef struct wire {
    double free;               /* when all that was sent before has left */
    packet queue[QUEUED];
    unsigned first, last;
} wire;

static wire wires[MOST_HOSTS];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double draw(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}

static void take(int fd, wire *from, int hosts, double rate, double delay, double loss)
{
    static unsigned char bytes[MOST_BYTES];
    for (int i = 0; i < AT_ONCE; i++) {
        const ssize_t length = read(fd, bytes, sizeof bytes);
        if (length <= HEADER + 20) return;
        const int to = bytes[HEADER + 19] - 1;
        if (bytes[HEADER] >> 4 != 4 || to < 0 || to >= hosts || from->last - from->first == QUEUED || draw() < loss)
            continue;
        const double at = now();
        from->free = (from->free > at ? from->free : at) + (double)(length - HEADER) * 8 / rate;
        packet *p = &from->queue[from->last++ % QUEUED];
        *p = (packet){from->free + delay, to, length, malloc((size_t)length)};
        if (!p->bytes) exit(1);
        memcpy(p->bytes, bytes, (size_t)length);
    }
}

int main(int argc, char **argv)
{
    const double rate = atof(argv[1]), delay = atof(argv[2]), loss = atof(argv[3]);
    const int hosts = argc - 4;
    struct pollfd fds[MOST_HOSTS + 1] = {{0}};
    for (int i = 0; i < hosts; i++) fds[i] = (struct pollfd){atoi(argv[4 + i]), POLLIN, 0};
    fds[hosts] = (struct pollfd){0, POLLIN, 0};
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        double due = 1e300;
        for (int i = 0; i < hosts; i++)
            if (wires[i].first != wires[i].last && wires[i].queue[wires[i].first % QUEUED].due < due)
                due = wires[i].queue[wires[i].first % QUEUED].due;
        const double wait = due - now();
        const struct timespec t = {0, wait <= 0 ? 0 : (long)(1e9 * (wait < 0.9 ? wait : 0.9))};
        if (ppoll(fds, (nfds_t)hosts + 1, &t, NULL) < 0 && errno != EINTR) return 1;
        if (fds[hosts].revents) return 0;
        for (int i = 0; i < hosts; i++)
            if (fds[i].revents & POLLIN) take(fds[i].fd, &wires[i], hosts, rate, delay, loss);
        for (int i = 0; i < hosts; i++)
            for (wire *l = &wires[i]; l->first != l->last && l->queue[l->first % QUEUED].due <= now(); l->first++) {
                packet *p = &l->queue[l->first % QUEUED];
                if (write(fds[p->to].fd, p->bytes, (size_t)p->length) < 0 && errno != EAGAIN && errno != EIO) return 1;
                free(p->bytes);
            }
    }
}
