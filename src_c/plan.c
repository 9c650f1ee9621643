/* Runs programs, and loops over mini-batches: feed, forward, loss, backward, gradients, update. */
#include "fastbp.h"
#include "float_mode.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

/* Neighbouring tasks, and the first of them that nobody has claimed; on a cache line of its own. */
typedef struct range {
    int64_t next, end;
    char unused[48];
} range;

enum { MOST_RANGES = 16 };

/* Neighbouring steps of one group, cut into tasks. Each thread claims those of its own range one after the other, the
 * same ones in every mini-batch: what an update reads and writes then stays in the cache of one core. A thread that has
 * done its own takes over what is left of the others'. Which thread does a task makes no difference to its bits. */
typedef struct stage {
    const fbp_program *program;
    const fbp_run *run;
    const fbp_step *begin, *end;
    int64_t tile;              /* over rows: rows in a task */
    int64_t n_tasks;
    range *ranges;
    int32_t n_ranges;
} stage;

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t tasks_of(const fbp_step *s) { return (s->units + s->chunk - 1) / s->chunk; }

static void run_rows(const stage *g, int64_t task, void *scratch)
{
    const int64_t lo = task * g->tile, hi = at_most(lo + g->tile, g->run->rows);
    for (const fbp_step *s = g->begin; s < g->end; s++) s->run(s->node, g->run, lo, hi, scratch);
}

static void run_units(const stage *g, int64_t task, void *scratch)
{
    const fbp_step *s = g->begin;
    for (int64_t n; task >= (n = tasks_of(s)); s++) task -= n;
    const int64_t lo = task * s->chunk;
    s->run(s->node, g->run, lo, at_most(lo + s->chunk, s->units), scratch);
}

static void share_tasks(void *argument, int32_t thread)
{
    stage *g = argument;
    void *scratch = g->program->scratch + (int64_t)thread * g->program->scratch_bytes;
    for (int32_t i = 0; i < g->n_ranges; i++) {
        range *own = g->ranges + (thread + i) % g->n_ranges;
        int64_t task;
        while ((task = __atomic_fetch_add(&own->next, 1, __ATOMIC_RELAXED)) < own->end) {
            if (g->begin->domain == FBP_OVER_ROWS) run_rows(g, task, scratch);
            else run_units(g, task, scratch);
        }
    }
}

static int32_t threads_for(const stage *g)
{
    if (g->program->n_threads < 2 || g->run->alone) return 1;
    double cost = 0;
    for (const fbp_step *s = g->begin; s < g->end; s++)
        cost += s->cost * (double)(s->domain == FBP_OVER_ROWS ? g->run->rows : s->units);
    const double worth = 1 + cost / g->program->fork_cost;
    return worth < g->program->n_threads ? (int32_t)worth : g->program->n_threads;
}

static void run_in_threads(stage *g, int32_t n_threads)
{
    if (g->begin->domain == FBP_OVER_ROWS) {
        /* pieces of equal size, and no larger than a tile */
        const int64_t pieces = (g->run->rows + g->tile * n_threads - 1) / (g->tile * n_threads) * n_threads;
        g->tile = (g->run->rows + pieces - 1) / pieces;
        g->n_tasks = (g->run->rows + g->tile - 1) / g->tile;
    } else {
        for (const fbp_step *s = g->begin; s < g->end; s++) g->n_tasks += tasks_of(s);
    }
    range ranges[MOST_RANGES];
    g->ranges = ranges;
    g->n_ranges = n_threads < MOST_RANGES ? n_threads : MOST_RANGES;
    for (int32_t i = 0; i < g->n_ranges; i++) {
        ranges[i].next = g->n_tasks * i / g->n_ranges;
        ranges[i].end = g->n_tasks * (i + 1) / g->n_ranges;
    }
    fbp_pool_run(n_threads, share_tasks, g);
}

static void run_alone(stage *g)
{
    void *scratch = g->program->scratch;
    if (g->begin->domain == FBP_OVER_ROWS) {
        const int64_t n = (g->run->rows + g->tile - 1) / g->tile;
        for (int64_t task = 0; task < n; task++) run_rows(g, task, scratch);
    } else {
        for (const fbp_step *s = g->begin; s < g->end; s++) s->run(s->node, g->run, 0, s->units, scratch);
    }
}

void fbp_run_program(const fbp_program *program, const fbp_run *run)
{
    const fbp_step *step = program->steps, *end = step + program->n_steps;
    while (step < end) {
        stage g = {.program = program, .run = run, .begin = step, .tile = program->tile};
        while (step < end && step->group == g.begin->group) step++;
        g.end = step;
        const int32_t n_threads = threads_for(&g);
        if (n_threads > 1) run_in_threads(&g, n_threads);
        else run_alone(&g);
    }
}

void fbp_feed_rows(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const char *from = node->x[0];
    char *to = node->y;
    const int64_t size = node->dim[0];
    if (run->in_place || from == to) return;
    if (!run->order) {
        memcpy(to + lo * size, from + (run->first + lo) * size, (size_t)((hi - lo) * size));
        return;
    }
    for (int64_t r = lo; r < hi; r++)
        memcpy(to + r * size, from + run->order[run->first + r] * size, (size_t)size);
}

void fbp_feed_integers(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t *from = node->x[0];
    int64_t *to = node->y;
    const int64_t size = node->dim[0] / (int64_t)sizeof(int64_t);
    const int64_t columns = node->dim[3];
    for (int64_t r = lo; r < hi; r++) {
        const int64_t *row = from + (run->order ? run->order[run->first + r] : run->first + r) * size;
        for (int64_t i = 0, column = 0; i < size; i++, column = column + 1 < columns ? column + 1 : 0) {
            const int64_t *limits = columns ? node->integers + 2 * column : &node->dim[1];
            const uint64_t below = (uint64_t)limits[0], least = (uint64_t)limits[1];
            /* read once: who owns the data may be changing it, and what was checked must be what is used */
            const int64_t value = __atomic_load_n(row + i, __ATOMIC_RELAXED);
            const int32_t fits = !below || (uint64_t)value - least < below - least;
            to[r * size + i] = fits ? value : (int64_t)least;
            if (!fits && run->failed) __atomic_store_n(run->failed, 1, __ATOMIC_RELAXED);
        }
    }
}

int32_t fbp_update_at_rate(fbp_update_plan *u, double rate, void *p, void *const *state, const void *g, int64_t n,
                           double weight_decay)
{
    double hyper[sizeof u->hyper / sizeof u->hyper[0]];
    memcpy(hyper, u->hyper, sizeof hyper);
    hyper[0] *= rate;
    u->begin(hyper);
    return u->update(p, state, g, n, hyper, weight_decay);
}

void fbp_update_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    fbp_update_plan *u = run->update;
    const int64_t at = ((char *)node->p[0] - u->parameters) / u->item_size;
    if (lo < u->first - at) lo = u->first - at;
    if (hi > u->last - at) hi = u->last - at;
    if (lo < hi) fbp_update_piece(u, node, 0, lo, hi - lo);
}

/* Whether any of n numbers is not 0: any bit but the sign is set. */
static int32_t any_nonzero(const char *x, int64_t n, int64_t item_size)
{
    uint64_t found = 0;
    for (int64_t i = 0; i < n && item_size == 4; i++) {
        uint32_t bits;
        memcpy(&bits, x + 4 * i, sizeof bits);
        found |= bits & 0x7fffffffu;
    }
    for (int64_t i = 0; i < n && item_size == 8; i++) {
        uint64_t bits;
        memcpy(&bits, x + 8 * i, sizeof bits);
        found |= bits & 0x7fffffffffffffffu;
    }
    return found != 0;
}

/* Ask for a row of p and of the state. */
static void prefetch_update(const fbp_update_plan *u, const fbp_node *node, int64_t row, int64_t width)
{
    const char *p = (const char *)node->p[0] + row * width * u->item_size;
    fbp_prefetch_row(p, width * u->item_size);
    for (int32_t i = 0; i < FBP_MOST_STATES; i++)
        if (u->state[i]) fbp_prefetch_row(u->state[i] + (p - u->parameters), width * u->item_size);
}

void fbp_update_rows(fbp_update_plan *u, const fbp_node *node, const int64_t *rows, int64_t first, int64_t n,
                     int64_t width)
{
    double hyper[sizeof u->hyper / sizeof u->hyper[0]];
    memcpy(hyper, u->hyper, sizeof hyper);
    if (node->rate[0] != 1) {
        hyper[0] *= node->rate[0];
        u->begin(hyper);
    }
    int32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        if (rows && i + FBP_ROWS_AHEAD < n) prefetch_update(u, node, rows[i + FBP_ROWS_AHEAD], width);
        const int64_t at = (rows ? rows[i] : first + i) * width * u->item_size;
        char *p = (char *)node->p[0] + at;
        const char *g = (const char *)node->dp[0] + at;
        if (!any_nonzero(g, width, u->item_size)) continue;
        void *const state[FBP_MOST_STATES] = {u->state[0] ? u->state[0] + (p - u->parameters) : 0,
                                              u->state[1] ? u->state[1] + (p - u->parameters) : 0};
        bad |= u->update(p, state, g, width, hyper, node->decay[0]);
    }
    if (bad) __atomic_store_n(&u->bad, 1, __ATOMIC_RELAXED);
}

void fbp_update_row_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t *touched = node->save[0], n = touched ? touched[0] : node->dim[1];
    const int64_t begin = n * lo / FBP_ROW_UNITS, end = n * hi / FBP_ROW_UNITS;
    fbp_update_rows(run->update, node, touched ? touched + 1 + begin : NULL, begin, end - begin, node->dim[0]);
}

double fbp_total_loss(double *const *row_losses, const int64_t *loss_rows, int64_t n_losses, int64_t rows)
{
    double total = 0;
    for (int64_t i = 0; i < n_losses; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows * loss_rows[i]; r++) sum += row_losses[i][r];
        total += sum;
    }
    return total;
}

/* The sum of weight * value, in four chains. */
static double weighted_sum(const double *value, const void *weight, int32_t dtype, int64_t rows, int64_t per_row)
{
    double sum[4] = {0};
    for (int64_t r = 0; r < rows * per_row; r++) {
        const int64_t i = per_row == 1 ? r : r / per_row;
        const double w = !weight ? 1 : dtype ? ((const double *)weight)[i] : (double)((const float *)weight)[i];
        sum[r % 4] += w * value[r];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Write what each loss is, and how many of its decisions are right, by sample weight. */
static void write_tally(const fbp_loop *loop, double total)
{
    const int64_t n = loop->n_losses, rows = loop->run.rows;
    for (int64_t i = 0; i < n; i++) {
        double *part = loop->tally + (loop->position * n + i) * 2;
        const fbp_loss *loss = loop->loss_of[i];
        const int64_t per_row = loop->loss_rows[i];
        part[0] = n == 1 && !loop->meet ? total : fbp_total_loss(loop->row_losses + i, loop->loss_rows + i, 1, rows);
        part[1] = (double)NAN;
        if (loss->row_right)
            part[1] = weighted_sum(loss->row_right, loss->weight, loop->dtype, rows, per_row) / (double)per_row;
    }
}

/* Stretches of the gradient, one after the other: segments, then touched rows of tables. */
typedef struct stretch {
    char *at;
    int64_t length;            /* of elements */
    int64_t segment, table, row;    /* how many of each are behind it */
} stretch;

static int32_t next_stretch(const fbp_loop *loop, stretch *s)
{
    if (s->segment < loop->n_segments) {
        const fbp_segment *segment = loop->segments + s->segment++;
        s->at = loop->run.update->gradients + segment->offset * loop->run.update->item_size;
        s->length = segment->length;
        return 1;
    }
    for (; s->table < loop->n_tables; s->table++, s->row = 0) {
        const fbp_rows *table = loop->tables + s->table;
        if (s->row == table->touched[0]) continue;
        s->length = table->width;
        s->at = table->gradients + table->touched[1 + s->row++] * table->width * loop->run.update->item_size;
        return 1;
    }
    return 0;
}

static double sum_of_squares(const fbp_loop *loop)
{
    double squares = 0;
    for (stretch s = {0}; next_stretch(loop, &s);) squares += loop->table->sum_of_squares[loop->dtype](s.at, s.length);
    return squares;
}

static int32_t all_within_limit(const fbp_loop *loop)
{
    for (stretch s = {0}; next_stretch(loop, &s);)
        if (!loop->table->all_within[loop->dtype](s.at, s.length, loop->gradient_limit)) return 0;
    return 1;
}

static void clamp(const fbp_loop *loop)
{
    for (stretch s = {0}; next_stretch(loop, &s);) loop->table->clamp[loop->dtype](s.at, s.length, loop->clip_value);
}

static void scale(const fbp_loop *loop, double factor)
{
    for (stretch s = {0}; next_stretch(loop, &s);) loop->table->scale[loop->dtype](s.at, s.length, factor);
}

/* Adds up over ranks of which each has a part. */
static int32_t meet_with_parts(fbp_loop *loop, fbp_occasion occasion, double *numbers)
{
    return loop->refresh ? loop->meet(loop->ranks, occasion, loop->run.update, numbers) : 0;
}

/* Looks at all gradients, and clips them. */
static fbp_status judge_gradients(fbp_loop *loop)
{
    double sums[FBP_SUMS] = {0};
    sums[FBP_SUM_BAD] = !all_within_limit(loop);
    if (loop->clip_value > 0) clamp(loop);
    if (loop->clip_norm > 0) sums[FBP_SUM_SQUARES] = sum_of_squares(loop);
    if (meet_with_parts(loop, FBP_MEET_GRADIENTS, sums)) return FBP_ERROR_STEP;
    if (sums[FBP_SUM_BAD] > 0) return FBP_ERROR_GRADIENT;
    const double norm = sqrt(sums[FBP_SUM_SQUARES]);
    if (loop->clip_norm > 0 && norm > loop->clip_norm) scale(loop, loop->clip_norm / norm);
    return FBP_OK;
}

static fbp_status update_parameters(fbp_loop *loop, double lr)
{
    fbp_update_plan *u = loop->run.update;
    if (loop->check_gradients) {
        const fbp_status status = judge_gradients(loop);
        if (status != FBP_OK) return status;
    }
    u->hyper[0] = lr;
    u->hyper[1] += 1;
    u->begin(u->hyper);
    fbp_run_program(loop->finish, &loop->run);
    double sums[FBP_SUMS] = {0};
    sums[FBP_SUM_BAD] = __atomic_load_n(&u->bad, __ATOMIC_RELAXED);
    if (meet_with_parts(loop, FBP_MEET_PARAMETERS, sums)) return FBP_ERROR_STEP;
    if (loop->refresh) fbp_run_program(loop->refresh, &loop->run);
    return sums[FBP_SUM_BAD] > 0 ? FBP_ERROR_PARAMETER : FBP_OK;
}

/* Sets the rows of the next mini-batch, or of this rank's part of it. */
static void choose_rows(fbp_loop *loop)
{
    fbp_run *run = &loop->run;
    if (loop->parts) {
        const fbp_part *part = loop->parts + loop->position;
        run->first = part->first;
        run->rows = part->rows;
        run->before = part->before;
        run->whole = part->whole;
        for (int64_t i = 0; i < loop->n_losses; i++) loop->total[i] = loop->totals[loop->position * loop->n_losses + i];
        return;
    }
    const int64_t per_epoch = (loop->n_rows + loop->batch_size - 1) / loop->batch_size;
    const int64_t epoch = loop->position / per_epoch, in_epoch = (loop->position - epoch * per_epoch) * loop->batch_size;
    run->first = in_epoch + (run->order ? epoch * loop->n_rows : 0);
    run->rows = at_most(loop->batch_size, loop->n_rows - in_epoch);
}

static int32_t has_failed(const fbp_run *run)
{
    return run->failed ? __atomic_load_n(run->failed, __ATOMIC_RELAXED) : 0;
}

/* Makes the gradients piece by piece, each of which goes to the other ranks while the next one is made. */
static void run_pieces(fbp_loop *loop, double loss, int32_t pauses)
{
    if (!loop->n_pieces) return;
    double sums[FBP_SUMS] = {loss, (double)has_failed(&loop->run), (double)pauses};
    loop->meet(loop->ranks, FBP_MEET_BEGIN, loop->run.update, sums);
    for (int64_t i = 0; i < loop->n_pieces; i++) {
        fbp_run_program(loop->pieces + i, &loop->run);
        sums[0] = (double)i;
        loop->meet(loop->ranks, FBP_MEET_PIECE, loop->run.update, sums);
    }
}

/* Adds up over all ranks what belongs to the whole batch; every rank then goes on in the same way. */
static fbp_status meet(fbp_loop *loop, double *loss, int32_t *pauses)
{
    fbp_run *run = &loop->run;
    int32_t failed = has_failed(run);
    if (loop->meet) {
        double sums[FBP_SUMS] = {*loss, (double)failed, (double)*pauses};
        failed = loop->meet(loop->ranks, FBP_MEET_BATCH, run->update, sums);
        *loss = sums[FBP_SUM_LOSS];
        *pauses = sums[FBP_SUM_PAUSES] > 0;
    }
    return failed ? FBP_ERROR_STEP : FBP_OK;
}

static fbp_status run_mini_batch(fbp_loop *loop, int32_t *pauses)
{
    fbp_run *run = &loop->run;
    choose_rows(loop);
    for (int64_t i = 0; i < loop->n_direct && run->in_place; i++)
        *loop->direct[i].place = loop->direct[i].source + run->first * loop->direct[i].row_bytes;
    fbp_run_program(loop->program, run);
    double loss = fbp_total_loss(loop->row_losses, loop->loss_rows, loop->n_losses, run->rows);
    run_pieces(loop, loss, *pauses);
    fbp_status status = meet(loop, &loss, pauses);
    if (status != FBP_OK) return status;
    loop->losses[loop->position] = loss;
    if (!isfinite(loss)) return FBP_ERROR_LOSS;
    if (loop->tally) write_tally(loop, loss);
    status = update_parameters(loop, loop->learning_rates[loop->position]);
    if (status != FBP_ERROR_GRADIENT) run->step += 1;
    return status;
}

/* Seconds; unless they are to be exact, from a clock of some milliseconds where that is cheaper. */
static double seconds_now(int32_t exact)
{
    struct timespec t;
#if defined(CLOCK_MONOTONIC_COARSE)
    clock_gettime(exact ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE, &t);
#else
    (void)exact;
    timespec_get(&t, TIME_UTC);
#endif
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* In each cycle of mini-batches a few are tried in all threads, then as many in one, and the others run in the faster
 * way. The first of either kind finds its data in other caches, and does not count. */
enum { PACE_CYCLE = 512, PACE_TRIALS = 8 };
/* Mini-batches that take longer gain by every thread, and too few of them come to make up for those tried in one. */
#define PACE_LONG 2e-3

static fbp_status run_at_best_pace(fbp_loop *loop, int32_t *pauses)
{
    fbp_pace *pace = loop->pace;
    if (loop->program->n_threads < 2) return run_mini_batch(loop, pauses);
    const int64_t at = pace->n++ % PACE_CYCLE, trial = at % PACE_TRIALS;
    if (at >= 2 * PACE_TRIALS) {
        loop->run.alone = pace->alone;
        return run_mini_batch(loop, pauses);
    }
    loop->run.alone = at >= PACE_TRIALS;
    const double begin = seconds_now(1);
    const fbp_status status = run_mini_batch(loop, pauses);
    const double took = seconds_now(1) - begin, each = took / (double)(loop->run.rows > 0 ? loop->run.rows : 1);
    double *least = &pace->least[loop->run.alone];
    if (trial <= 1 || each < *least) *least = each;
    if (at == 2 * PACE_TRIALS - 1) pace->alone = pace->least[1] < pace->least[0];
    if (at == 1 && took > PACE_LONG) {
        pace->alone = 0;
        pace->n += 2 * PACE_TRIALS - 2;
    }
    return status;
}

static fbp_status run_mini_batches(fbp_loop *loop, double seconds)
{
    const double end = seconds_now(0) + seconds;
    while (loop->position < loop->stop) {
        int32_t pauses = loop->meet && seconds_now(0) > end;
        const fbp_status status = run_at_best_pace(loop, &pauses);
        if (status != FBP_OK) return status;
        loop->position += 1;
        if (loop->position < loop->stop && (loop->meet ? pauses : seconds_now(0) > end)) return FBP_PAUSED;
    }
    return FBP_OK;
}

fbp_status fbp_run_loop(fbp_loop *loop, double seconds)
{
    /* as a network converges, gradients and the optimizer's averages of them become subnormal, which is slow */
    const uint64_t mode = fbp_flush_subnormals(1);
    const fbp_status status = run_mini_batches(loop, seconds);
    fbp_set_float_mode(mode);
    return status;
}

fbp_status fbp_run_update(fbp_loop *loop, double lr)
{
    const uint64_t mode = fbp_flush_subnormals(1);
    const fbp_status status = update_parameters(loop, lr);
    fbp_set_float_mode(mode);
    return status;
}
