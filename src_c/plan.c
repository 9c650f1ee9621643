/* Runs programs, and loops over mini-batches: gather, forward, loss, backward, gradients, update. */
#include "fastbp.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

void fbp_run_program(const fbp_program *program, const fbp_run *run)
{
    const fbp_step *step = program->steps, *end = step + program->n_steps;
    while (step < end) {
        const fbp_step *stop = step + 1;
        while (stop < end && stop->group == step->group) stop++;
        if (step->domain == FBP_OVER_ROWS) {
            /* a tile of rows goes through the whole group while it is in the cache */
            for (int64_t lo = 0; lo < run->rows; lo += program->tile) {
                const int64_t hi = lo + program->tile < run->rows ? lo + program->tile : run->rows;
                for (const fbp_step *s = step; s < stop; s++) s->run(s->node, run, lo, hi);
            }
        } else {
            for (const fbp_step *s = step; s < stop; s++) s->run(s->node, run, 0, s->units);
        }
        step = stop;
    }
}

double fbp_total_loss(double *const *row_losses, int64_t n_losses, int64_t rows)
{
    double total = 0;
    for (int64_t i = 0; i < n_losses; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += row_losses[i][r];
        total += sum;
    }
    return total;
}

static void clip(const fbp_table *table, int32_t dtype, const fbp_update_plan *u)
{
    const int64_t item = u->item_size;
    double squares = 0;
    for (int64_t i = 0; i < u->n_segments; i++) {
        char *g = u->gradients + u->segments[i].offset * item;
        if (u->clip_value > 0) table->clamp[dtype](g, u->segments[i].length, u->clip_value);
        if (u->clip_norm > 0) squares += table->sum_of_squares[dtype](g, u->segments[i].length);
    }
    const double norm = sqrt(squares);
    if (u->clip_norm > 0 && norm > u->clip_norm)
        for (int64_t i = 0; i < u->n_segments; i++)
            table->scale[dtype](u->gradients + u->segments[i].offset * item, u->segments[i].length, u->clip_norm / norm);
}

fbp_status fbp_apply_update(const fbp_table *table, int32_t dtype, fbp_update_plan *u)
{
    int32_t bad = 0;
    if (u->clip_norm > 0 || u->clip_value > 0) clip(table, dtype, u);
    u->hyper[1] += 1;
    for (int64_t i = 0; i < u->n_segments; i++) {
        const fbp_segment *s = &u->segments[i];
        const int64_t at = s->offset * u->item_size;
        void *const state[2] = {u->state[0] ? u->state[0] + at : NULL, u->state[1] ? u->state[1] + at : NULL};
        u->hyper[2] = s->weight_decay;
        bad |= u->update(u->parameters + at, state, u->gradients + at, s->length, u->hyper);
    }
    return bad ? FBP_ERROR_PARAMETER : FBP_OK;
}

static int32_t gradients_finite(const fbp_loop *loop)
{
    const fbp_update_plan *u = loop->update;
    for (int64_t i = 0; i < u->n_segments; i++)
        if (!loop->table->all_finite[loop->dtype](u->gradients + u->segments[i].offset * u->item_size,
                                                  u->segments[i].length))
            return 0;
    return 1;
}

static void gather(const fbp_loop *loop, int64_t first, int64_t rows)
{
    for (int64_t i = 0; i < loop->n_feeds; i++) {
        const fbp_feed *f = &loop->feeds[i];
        const int64_t size = f->row_bytes;
        if (!loop->order) {
            memcpy(f->destination, f->source + first * size, (size_t)(rows * size));
            continue;
        }
        for (int64_t r = 0; r < rows; r++)
            memcpy(f->destination + r * size, f->source + loop->order[first + r] * size, (size_t)size);
    }
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

fbp_status fbp_run_loop(fbp_loop *loop, fbp_run *run, double seconds)
{
    const int64_t batches = (loop->n_rows + loop->batch_size - 1) / loop->batch_size;
    const double end = now() + seconds;
    while (loop->position < batches) {
        const int64_t first = loop->position * loop->batch_size;
        run->rows = loop->n_rows - first < loop->batch_size ? loop->n_rows - first : loop->batch_size;
        gather(loop, first, run->rows);
        fbp_run_program(loop->program, run);
        const double loss = fbp_total_loss(loop->row_losses, loop->n_losses, run->rows);
        loop->losses[loop->position] = loss;
        if (!isfinite(loss)) return FBP_ERROR_LOSS;
        if (loop->update) {
            if (loop->check_gradients && !gradients_finite(loop)) return FBP_ERROR_GRADIENT;
            loop->update->hyper[0] = loop->learning_rates[loop->position];
            const fbp_status status = fbp_apply_update(loop->table, loop->dtype, loop->update);
            if (status != FBP_OK) return status;
            fbp_run_program(loop->prepare, run);
            run->step += 1;
        }
        loop->position += 1;
        if (now() > end && loop->position < batches) return FBP_PAUSED;
    }
    return FBP_OK;
}
