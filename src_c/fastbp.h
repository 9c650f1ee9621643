/* fastbp's C API: what the Cython modules see, and the contract every op keeps.
 *
 * A network is compiled into a plan: an array of nodes (one use of one op: its tensors, sizes and hyperparameters)
 * over memory the caller owns, and programs: arrays of steps, each one phase of one node. Nothing here allocates,
 * prints or aborts; functions return an fbp_status.
 *
 * A tensor is row-major and batch first. Its first axis is the batch: B rows. Steps over rows may be given any range
 * of rows and in any order, and give the same bits; steps over units (columns, rows of a weight, ...) likewise.
 */
#ifndef FASTBP_H
#define FASTBP_H

#include <stdint.h>

typedef enum {
    FBP_OK = 0,
    FBP_ERROR_ISA,           /* unknown instruction set, or one this CPU lacks */
    FBP_ERROR_LOSS,          /* the loss stopped being finite; nothing was updated */
    FBP_ERROR_GRADIENT,      /* a gradient stopped being finite; nothing was updated */
    FBP_ERROR_PARAMETER,     /* an update made a parameter non-finite */
    FBP_PAUSED               /* time is up: call again to go on */
} fbp_status;

/* ---- ops ------------------------------------------------------------------------------------------------------ */

#define FBP_OP(name) FBP_OP_##name,
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args)
typedef enum {
#include "op_list.h"
    FBP_OP_COUNT
} fbp_op;
#undef FBP_OP
#undef FBP_OPTIMIZER

#define FBP_OP(name)
#define FBP_OPTIMIZER(name) FBP_OPTIMIZER_##name,
typedef enum {
#include "op_list.h"
    FBP_OPTIMIZER_COUNT
} fbp_optimizer;
#undef FBP_OP
#undef FBP_OPTIMIZER
#undef FBP_KERNEL

/* One use of one op. All pointers are of the plan's dtype unless a comment says otherwise; unused ones are NULL.
 * Which dims, attributes and saved tensors an op has is written above its code in src_c/ops, and made by the
 * `native` method of its Python twin. */
typedef struct fbp_node {
    void *x[2];               /* inputs */
    void *dx[2];              /* their gradients; NULL where not wanted */
    void *y, *dy;             /* output, and its gradient */
    void *p[2], *dp[2];       /* parameters, and their gradients; dp NULL when frozen */
    void *buffer[2];          /* state that is not trained: running statistics */
    void *save[2];            /* kept from forward for backward */
    void *aux;                /* linear: W transposed, (O, I); losses: row weights (B,), divided by their sum */
    const void *constants;    /* losses: one number for each output column, or NULL */
    const void *target;       /* losses: (B, ...) of the dtype, or int64 labels (B,) */
    const void *weight;       /* losses: sample weights (B,), or NULL */
    double *row_loss;         /* losses: (B,) weighted loss of each row */
    int64_t dim[8];
    double attr[8];
    int64_t id;               /* position in the graph: keys random numbers */
    /* fusion, linear only: */
    int32_t act;              /* an activation op applied to y in forward, or FBP_OP_identity */
    int32_t in_act;           /* the activation op that made x, whose backward is folded into dx, or identity */
    double act_alpha, in_alpha;
    void *in_from;            /* what in_act's derivative is computed from: its output or its input */
} fbp_node;

/* What changes from one run of a program to the next. */
typedef struct fbp_run {
    int64_t rows;             /* B of this mini-batch */
    uint64_t seed, step;      /* key the random numbers of dropout */
    int32_t training;
    int32_t n_threads;
} fbp_run;

/* One phase of a node, over rows or units lo <= i < hi. */
typedef void (*fbp_entry)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi);

/* The phases of an op, in the order they run; NULL where it has none. The _units members say which dim counts the
 * units of a phase that is not over rows. */
typedef struct fbp_phases {
    fbp_entry prepare;          /* over units; before the first forward, and again after every update */
    fbp_entry forward_reduce;   /* over units; mixes rows, before forward */
    fbp_entry forward;          /* over rows */
    fbp_entry backward_reduce;  /* over units; mixes rows, before backward; may fill dp */
    fbp_entry backward;         /* over rows: dx from dy */
    fbp_entry gradient;         /* over units: dp from x and dy, after every backward */
    int32_t prepare_units, reduce_units, gradient_units;
} fbp_phases;

/* p and state are updated in place from g, n elements; returns 0, or 1 where a parameter became non-finite. */
typedef int32_t (*fbp_update)(void *p, void *const *state, const void *g, int64_t n, const double *h);

#define FBP_OP(name)
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args) void (*name) args;
#define T float
typedef struct fbp_kernels_f32 {
#include "op_list.h"
} fbp_kernels_f32;
#undef T
#define T double
typedef struct fbp_kernels_f64 {
#include "op_list.h"
} fbp_kernels_f64;
#undef T
#undef FBP_OP
#undef FBP_OPTIMIZER
#undef FBP_KERNEL

/* Everything compiled for one instruction set. Index 0 is float32, 1 is float64. */
typedef struct fbp_table {
    const char *name;
    const fbp_phases *op[2][FBP_OP_COUNT];
    fbp_update update[2][FBP_OPTIMIZER_COUNT];
    double (*sum_of_squares[2])(const void *x, int64_t n);              /* fixed order; in double */
    int32_t (*all_finite[2])(const void *x, int64_t n);
    void (*scale[2])(void *x, int64_t n, double factor);
    void (*clamp[2])(void *x, int64_t n, double limit);
    fbp_phases accumulate_phases[2];                                    /* node: x[0] += x[1], dim[0] columns */
    int32_t vector_bytes;
    fbp_kernels_f32 f32;
    fbp_kernels_f64 f64;
} fbp_table;

/* ---- dispatch ------------------------------------------------------------------------------------------------- */

/* name: "generic", "avx2", "avx512", "neon", or NULL or "" for the best this CPU has. The table lives forever. */
fbp_status fbp_select_table(const char *name, const fbp_table **table);
/* The i-th table this build knows, best last, or NULL; *supported says whether this CPU can run it. */
const fbp_table *fbp_known_table(int32_t i, int32_t *supported);

/* ---- plan ----------------------------------------------------------------------------------------------------- */

typedef enum { FBP_OVER_ROWS = 0, FBP_OVER_UNITS = 1 } fbp_domain;

typedef struct fbp_step {
    fbp_entry run;
    const fbp_node *node;
    int32_t domain;
    int32_t group;            /* neighbouring steps of one group do not depend on each other's other rows or units */
    int64_t units;
} fbp_step;

typedef struct fbp_program {
    const fbp_step *steps;
    int64_t n_steps;
    int64_t tile;             /* rows that go through a group of row steps together */
} fbp_program;

/* Where a mini-batch comes from: row order[i] of source goes to row i of destination. */
typedef struct fbp_feed {
    const char *source;
    char *destination;
    int64_t row_bytes;
} fbp_feed;

typedef struct fbp_segment {   /* neighbouring parameters that are updated alike */
    int64_t offset, length;
    double weight_decay;
} fbp_segment;

typedef struct fbp_update_plan {
    fbp_update update;
    double hyper[8];           /* [0] learning rate, [1] step counted from 1, [2] weight decay: filled per segment;
                                  the rest is the optimizer's own */
    char *parameters, *gradients;
    char *state[2];
    const fbp_segment *segments;
    int64_t n_segments, item_size;
    double clip_norm, clip_value;   /* 0: off */
} fbp_update_plan;

/* A run over many mini-batches: an epoch, or part of one. */
typedef struct fbp_loop {
    const fbp_table *table;
    int32_t dtype;             /* 0 float32, 1 float64 */
    const fbp_program *program, *prepare;
    const fbp_feed *feeds;
    int64_t n_feeds;
    double *const *row_losses; /* one array per loss */
    int64_t n_losses;
    fbp_update_plan *update;   /* NULL: only compute losses */
    int32_t check_gradients;   /* look at every gradient before the update, not only at the parameters after it */
    const int64_t *order;      /* row numbers, or NULL for 0, 1, 2, ... */
    int64_t n_rows, batch_size;
    const double *learning_rates;   /* one per mini-batch */
    double *losses;            /* one per mini-batch, out */
    int64_t position;          /* mini-batches done so far: 0 at first */
} fbp_loop;

void fbp_run_program(const fbp_program *program, const fbp_run *run);
double fbp_total_loss(double *const *row_losses, int64_t n_losses, int64_t rows);
/* Runs mini-batches until all are done (FBP_OK), `seconds` have passed (FBP_PAUSED), or something went wrong. */
fbp_status fbp_run_loop(fbp_loop *loop, fbp_run *run, double seconds);
/* Clips, checks and applies the gradients once. */
fbp_status fbp_apply_update(const fbp_table *table, int32_t dtype, fbp_update_plan *update);

#endif
