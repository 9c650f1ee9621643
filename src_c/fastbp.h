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
#include <string.h>

typedef enum {
    FBP_OK = 0,
    FBP_ERROR_ISA,           /* unknown instruction set, or one this CPU lacks */
    FBP_ERROR_LOSS,          /* the loss stopped being finite; nothing was updated */
    FBP_ERROR_GRADIENT,      /* a gradient stopped being finite; nothing was updated */
    FBP_ERROR_PARAMETER,     /* an update made a parameter non-finite */
    FBP_ERROR_STEP,          /* a step could not do its work; nothing was updated */
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

/* What a node has room for. Whoever fills one refuses an op that needs more. */
enum {
    FBP_MOST_INPUTS = 16,
    FBP_MOST_PARAMETERS = 12,
    FBP_MOST_BUFFERS = 4,
    FBP_MOST_SAVES = 8,
    FBP_MOST_DIMS = 24,
    FBP_MOST_ATTRS = 8,
    FBP_MOST_STATES = 2,       /* vectors that an optimizer keeps beside the parameters */
    FBP_MOST_HYPER = 5         /* an optimizer's own numbers */
};

/* An activation op that another op takes in: FBP_OP_identity where there is none. */
typedef struct fbp_activation {
    int32_t op;
    double alpha;              /* its hyperparameter */
    const void *from;          /* its output, or its derivative where that is kept: what backward computes with */
} fbp_activation;

/* What an op takes in of its neighbours, if it can: the traits of its Python twin say so. */
typedef struct fbp_fusion {
    fbp_activation act;        /* applied to z, what the op makes, in forward: y = act(z) */
    void *slope;               /* act'(z) is left here, or NULL; of an activation node, its own derivative */
    const void *affine;        /* (2, O): z is what the op makes without bias, times the first, plus the second; or NULL */
    fbp_activation gate;       /* dx[0] is multiplied by its derivative: it made x[0]; of an activation node, its own */
    int32_t updates;           /* gradient phases update p at once, piece by piece, where run->update is given */
} fbp_fusion;

/* What losses have besides. */
typedef struct fbp_loss {
    const void *target;        /* (B, ...) of the dtype, or int64 labels (B,) */
    const void *weight;        /* sample weights (B,), or NULL */
    double scale;              /* what this loss counts for beside others */
    void *row_weight;          /* (B,) the weight of each row, all of which sum to scale */
    double *row_loss;          /* (B,) the weighted loss of each row */
    const double *total;       /* what the weights are divided by: the sum of those of the whole batch; NULL: of these */
    double *row_right;         /* (B,) the share of right decisions in each row; NULL where nobody asks */
} fbp_loss;

/* What a node that is written in Python has instead of all else: the object to be called, and the plan it is called
 * with. */
typedef struct fbp_call {
    void *object, *plan;
} fbp_call;

/* One use of one op. All pointers are of the plan's dtype unless a comment says otherwise; unused ones are NULL.
 * Which dims, attributes and saved tensors an op has is written above its code in src_c/ops, and made by the
 * `native` method of its Python twin. */
typedef struct fbp_node {
    void *x[FBP_MOST_INPUTS];          /* inputs; int64 where the tensor holds integers */
    void *dx[FBP_MOST_INPUTS];         /* their gradients; NULL where not wanted */
    void *y, *dy;                      /* output, and its gradient */
    void *p[FBP_MOST_PARAMETERS];      /* parameters, in the order that the Python twin's `native` gives their roles */
    void *dp[FBP_MOST_PARAMETERS];     /* their gradients; NULL when frozen */
    double decay[FBP_MOST_PARAMETERS]; /* their weight decay, for whoever updates them */
    double rate[FBP_MOST_PARAMETERS];  /* and what the learning rate is multiplied by */
    void *buffer[FBP_MOST_BUFFERS];    /* state that is not trained, likewise: running statistics */
    void *save[FBP_MOST_SAVES];        /* kept from forward for backward; of the kind that `native` says */
    void *prepared;                    /* what the phase prepare makes of the parameters, or NULL */
    const void *constants;             /* numbers of the dtype that `native` gives, or NULL */
    const int64_t *integers;           /* likewise */
    int64_t dim[FBP_MOST_DIMS];
    double attr[FBP_MOST_ATTRS];
    int64_t id;                        /* position in the graph: keys random numbers */
    int32_t adds;                      /* bit i: what is written to dx[i] is added to what is there; where the op can */
    int32_t bf16;                      /* products take operands rounded to bfloat16; see fbp_has_bf16 */
    fbp_fusion fusion;
    fbp_loss loss;
    fbp_call call;
} fbp_node;

/* n elements of p and of the state vectors are updated in place from g; returns 0, or 1 where a parameter became
 * non-finite. Each element is treated alike, so a vector may be updated in pieces of any length. */
typedef int32_t (*fbp_update)(void *p, void *const *state, const void *g, int64_t n, const double *hyper,
                              double weight_decay);
/* Once a step, before any update: fills the derived numbers hyper[8..15] from the rest. */
typedef void (*fbp_begin)(double *hyper);

/* How parameters are updated. */
typedef struct fbp_update_plan {
    fbp_update update;
    fbp_begin begin;
    double hyper[16];          /* [0] learning rate, [1] step counted from 1, [3..7] the optimizer's own, [8..] derived */
    char *parameters, *gradients;   /* the flat vectors, and, element by element beside them, the state */
    char *state[FBP_MOST_STATES];
    int64_t item_size;
    int64_t first, last;       /* of the flat vector, these elements are updated: all, or this rank's part */
    int32_t bad;               /* set to 1 when a parameter became non-finite */
} fbp_update_plan;

/* What changes from one run of a program to the next. */
typedef struct fbp_run {
    int64_t rows;              /* B of this mini-batch */
    uint64_t seed, step;       /* key the random numbers */
    int32_t training;
    fbp_update_plan *update;   /* NULL: gradients only */
    const int64_t *order;      /* where rows of the data set are fed from: row order[first + r], or first + r if NULL */
    int64_t first;
    int32_t in_place;          /* the data set's rows are read where they are */
    int32_t *failed;           /* NULL, or set to 1 by a step that could not do its work */
    int64_t before, whole;     /* of a batch that several ranks share: the rows before these, and all; 0, 0: all are here */
    int32_t alone;             /* 1: the calling thread does all */
    int32_t single;            /* 1: training goes on by batches of one row: what serves many is not kept up */
} fbp_run;

/* The rows of the whole batch. */
static inline int64_t fbp_whole_rows(const fbp_run *run) { return run->whole ? run->whole : run->rows; }

/* Sizes that depend on the number of rows are written as one number: how many, and how many times the rows. */
#define FBP_TIMES_ROWS ((int64_t)1 << 40)
static inline int64_t fbp_with_rows(int64_t n, int64_t rows)
{
    const int64_t times = (n + FBP_TIMES_ROWS / 2) >> 40;
    return n - times * FBP_TIMES_ROWS + times * rows;
}

/* y = normal random numbers, two for each two words: normals.c */
void fbp_normals(double *y, const uint32_t *words, int64_t pairs);

/* Scratch memory that the products of gemm_pack.inc.h and gemm_bf16.inc.h ask for, from its beginning on. */
#define FBP_PRODUCT_SCRATCH_BYTES (768 * 1024)

/* One phase of a node, over rows or units lo <= i < hi. The scratch memory is the calling thread's own, as large as the
 * `native` of the op asks for, and starts on a cache line. */
typedef void (*fbp_entry)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch);

/* The update at a rate of its own times the learning rate. */
int32_t fbp_update_at_rate(fbp_update_plan *u, double rate, void *p, void *const *state, const void *g, int64_t n,
                           double weight_decay);

/* Update n elements of parameter i of a node, from `first` on; any thread may do any piece. */
static inline void fbp_update_piece(fbp_update_plan *u, const fbp_node *node, int32_t i, int64_t first, int64_t n)
{
    char *p = (char *)node->p[i] + first * u->item_size;
    const char *g = (const char *)node->dp[i] + first * u->item_size;
    const double decay = node->decay[i], rate = node->rate[i];
    const int64_t at = p - u->parameters;
    void *const state[FBP_MOST_STATES] = {u->state[0] ? u->state[0] + at : 0, u->state[1] ? u->state[1] + at : 0};
    const int32_t bad = rate == 1 ? u->update(p, state, g, n, u->hyper, decay)
                                  : fbp_update_at_rate(u, rate, p, state, g, n, decay);
    if (bad) __atomic_store_n(&u->bad, 1, __ATOMIC_RELAXED);
}

/* Tables whose rows are updated one by one are cut into so many units. */
#define FBP_ROW_UNITS 64

/* Rows of a large table are far from each other: those that come so many rows later are asked for already. */
#define FBP_ROWS_AHEAD 24

static inline void fbp_prefetch_row(const void *row, int64_t bytes)
{
    for (int64_t i = 0; i < bytes && i < 256; i += 64) __builtin_prefetch((const char *)row + i, 1);
}

/* Update those of n rows of parameter 0 of a node whose gradient is not 0, `width` elements each: rows[0], rows[1], …, or
 * first, first + 1, … where rows is NULL; any thread may do any of them. */
void fbp_update_rows(fbp_update_plan *u, const fbp_node *node, const int64_t *rows, int64_t first, int64_t n,
                     int64_t width);

typedef enum { FBP_OVER_ROWS = 0, FBP_OVER_UNITS = 1 } fbp_domain;

/* The phases of an op, in the order they run. Phases over units that mix rows see the whole batch; how many units there
 * are, the `native` of the op says. */
#define FBP_PHASES(PHASE)                                                                                              \
    PHASE(prepare, FBP_OVER_UNITS)           /* before the first forward, and between an update and the next one */    \
    PHASE(forward_reduce, FBP_OVER_UNITS)    /* mixes rows, before forward */                                          \
    PHASE(forward, FBP_OVER_ROWS)                                                                                      \
    PHASE(backward_reduce, FBP_OVER_UNITS)   /* mixes rows, before backward; may fill dp */                            \
    PHASE(backward, FBP_OVER_ROWS)           /* dx from dy */                                                          \
    PHASE(gradient, FBP_OVER_UNITS)          /* dp from x and dy, after every backward */

/* Those of one op; NULL where it has none. */
typedef struct fbp_phases {
#define FBP_PHASE(name, over) fbp_entry name;
    FBP_PHASES(FBP_PHASE)
#undef FBP_PHASE
} fbp_phases;

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
    fbp_begin begin[FBP_OPTIMIZER_COUNT];
    double (*sum_of_squares[2])(const void *x, int64_t n);              /* fixed order; in double */
    int32_t (*all_within[2])(const void *x, int64_t n, double limit);   /* no |x| above the limit, none infinite or NaN */
    void (*scale[2])(void *x, int64_t n, double factor);
    void (*clamp[2])(void *x, int64_t n, double limit);
    fbp_phases accumulate_phases[2];                                    /* node: x[0] += x[1], dim[0] columns */
    double (*fma_loop[2])(int64_t n);                                   /* 10 n vector multiply-adds in registers */
    int32_t vector_bytes;
    fbp_kernels_f32 f32;
    fbp_kernels_f64 f64;
} fbp_table;

/* ---- dispatch ------------------------------------------------------------------------------------------------- */

/* name: "generic", "avx2", "avx512", "neon", or NULL or "" for the best this CPU has. The table lives forever. */
fbp_status fbp_select_table(const char *name, const fbp_table **table);
/* The i-th table this build knows, best last, or NULL; *supported says whether this CPU can run it. */
const fbp_table *fbp_known_table(int32_t i, int32_t *supported);

/* Whether nodes run by this table's kernels may set bf16, on this CPU; float32 only. */
int32_t fbp_has_bf16(const fbp_table *table);

/* The number of an op or an optimizer, or -1. */
int32_t fbp_find_op(const char *name);
int32_t fbp_find_optimizer(const char *name);
/* The number of an instruction of expressions, or -1. */
int32_t fbp_find_instruction(const char *name);

/* The i-th phase, or NULL; what it runs over; and what an op has of it, or NULL. */
const char *fbp_phase_name(int32_t i);
fbp_domain fbp_phase_domain(int32_t i);
fbp_entry fbp_phase_entry(const fbp_phases *phases, int32_t i);

/* ---- threads -------------------------------------------------------------------------------------------------- */

/* What others find the library by, among all that a process has loaded. */
#if defined(_WIN32)
#define FBP_EXPORT __declspec(dllexport)
#else
#define FBP_EXPORT __attribute__((visibility("default")))
#endif

/* Work to be shared: called once in each thread with its number, 0 <= thread < n_threads. */
typedef void (*fbp_job)(void *argument, int32_t thread);

/* Runs job in up to n_threads threads, the caller's among them, and returns when all are done. If other threads of the
 * process keep the pool busy, the caller runs it alone (n_threads is then 1): job must share its work by claiming it. */
FBP_EXPORT void fbp_pool_run(int32_t n_threads, fbp_job job, void *argument);

/* ---- plan ----------------------------------------------------------------------------------------------------- */

typedef struct fbp_step {
    fbp_entry run;
    const fbp_node *node;
    int32_t domain;
    int32_t group;             /* neighbouring steps of one group do not depend on each other's other rows or units */
    int64_t units;             /* over units: how many */
    int64_t chunk;             /* over units: how many of them make a task for a thread */
    double cost;               /* estimated nanoseconds in one thread, for a row or a unit */
} fbp_step;

typedef struct fbp_program {
    const fbp_step *steps;
    int64_t n_steps;
    int64_t tile;              /* rows that go through a group of row steps together */
    int32_t n_threads;         /* at the most */
    double fork_cost;          /* nanoseconds of work that an added thread must at least take over */
    char *scratch;             /* scratch_bytes for each thread */
    int64_t scratch_bytes;
} fbp_program;

/* A place in nodes that is pointed straight at the data set where its rows come in order, so that none are copied. */
typedef struct fbp_direct {
    const void **place;
    const char *source;
    int64_t row_bytes;
} fbp_direct;

typedef struct fbp_segment {   /* neighbouring parameters that are updated alike */
    int64_t offset, length;
    double weight_decay;
} fbp_segment;

/* A table whose gradient is 0 but for the rows that a mini-batch touched. */
typedef struct fbp_rows {
    char *gradients;
    const int64_t *touched;    /* how many rows, then which */
    int64_t width;             /* the elements of a row */
} fbp_rows;

/* One rank's part of a mini-batch: its first row in the order of the data, its rows, those before them in the batch, and
 * the rows of the whole batch. */
typedef struct fbp_part {
    int64_t first, rows, before, whole;
} fbp_part;

/* Where ranks meet in a step, and what they add up there. */
typedef enum {
    FBP_MEET_BATCH,            /* before a mini-batch is judged: the loss, how many failed, how many would pause; and, if
                                  none failed, the gradients */
    FBP_MEET_BEGIN,            /* begins with that, and does not wait: gradients follow in pieces, then FBP_MEET_BATCH */
    FBP_MEET_PIECE,            /* begins with the gradients of piece numbers[0] */
    FBP_MEET_GRADIENTS,        /* where each rank has a part of them: how many found one too large; squares for the norm */
    FBP_MEET_PARAMETERS        /* where each has updated its part: how many made one that is not finite */
} fbp_occasion;
enum { FBP_SUM_LOSS, FBP_SUM_FAILED, FBP_SUM_PAUSES, FBP_SUMS };
enum { FBP_SUM_BAD = FBP_SUM_LOSS, FBP_SUM_SQUARES = FBP_SUM_PAUSES };

/* Adds up numbers[FBP_SUMS] over all ranks, and does what the occasion asks; returns 0, or 1 where a rank has failed. */
typedef int32_t (*fbp_meet)(void *ranks, fbp_occasion occasion, fbp_update_plan *update, double *numbers);

/* Whether mini-batches are faster in one thread than in all. That depends on how far apart the cores are, and on who else
 * uses them, so it is tried out now and then. Bits do not depend on it. */
typedef struct fbp_pace {
    int64_t n;                 /* mini-batches so far */
    double least[2];           /* seconds a row in all threads, and in one */
    int32_t alone;
} fbp_pace;

/* A run over many mini-batches: an epoch, or part of one. */
typedef struct fbp_loop {
    const fbp_table *table;
    int32_t dtype;             /* 0 float32, 1 float64 */
    const fbp_program *program;      /* up to the loss, and all that must come before the loss and gradients are checked */
    const fbp_program *finish;       /* all after that: updates, and, if another mini-batch follows, a refresh of what
                                        derives from parameters */
    double *const *row_losses; /* one array per loss */
    const int64_t *loss_rows;  /* and how many entries of it make a row of the batch */
    int64_t n_losses;
    fbp_run run;
    const fbp_direct *direct;  /* used where run.order is NULL: the program's feeds then do nothing */
    int64_t n_direct;
    /* all gradients are looked at, and clipped, before any update; then nothing may be fused. If one is larger than
     * gradient_limit, FBP_ERROR_GRADIENT is returned before anything is changed. */
    int32_t check_gradients;
    double gradient_limit;     /* may be infinite: only gradients that are not finite are refused */
    double clip_norm, clip_value;   /* 0: off */
    const fbp_segment *segments;
    int64_t n_segments;
    const fbp_rows *tables;    /* and, besides, touched rows of tables */
    int64_t n_tables;
    int64_t n_rows, batch_size;      /* rows of an epoch; its last mini-batch may be smaller */
    const double *learning_rates;   /* one per mini-batch */
    double *losses;            /* one per mini-batch, out */
    double *tally;             /* (mini-batches, n_losses, 2) each loss, and the right decisions of all rows, by sample
                                  weight; or NULL */
    const fbp_loss *const *loss_of; /* what each loss reads and writes */
    int64_t position;          /* mini-batches done so far: 0 at first */
    int64_t stop;              /* and how many to do */
    /* where ranks share each mini-batch (gradients are then looked at before any update): */
    fbp_meet meet;             /* NULL: there are no others */
    void *ranks;
    const fbp_program *refresh;     /* where each rank updates a part of the parameters: what derives from all of them;
                                       `finish` has the updates alone. NULL: each updates all */
    const fbp_program *pieces; /* where gradients are added up while others are computed: what makes them, after `program` */
    int64_t n_pieces;
    const fbp_part *parts;     /* one per mini-batch */
    const double *totals;      /* n_losses per mini-batch: the sums of the weights of the whole batch */
    double *total;             /* (n_losses,) where the nodes of the losses read them */
    fbp_pace *pace;            /* of all runs of one plan */
} fbp_loop;

void fbp_run_program(const fbp_program *program, const fbp_run *run);
double fbp_total_loss(double *const *row_losses, const int64_t *loss_rows, int64_t n_losses, int64_t rows);
/* Runs mini-batches until all are done (FBP_OK), `seconds` have passed (FBP_PAUSED), or something went wrong. */
fbp_status fbp_run_loop(fbp_loop *loop, double seconds);
/* One update from the gradients that are there: looked at, clipped, and used by the program `finish`. */
fbp_status fbp_run_update(fbp_loop *loop, double lr);

/* ---- ranks of one machine ------------------------------------------------------------------------------------- */

/* Where a rank says that it has come, and what it brings. No two ranks write to one cache line. */
typedef struct fbp_seat {
    int64_t turn;              /* meetings that the rank has come to */
    double numbers[2][FBP_SUMS];    /* of the last one, and of the one before: a rank may be slow to read */
    int64_t left;              /* set when the rank will not come any more */
    char rest[128 - 8 * 8];
} fbp_seat;

/* Memory that all ranks see. Each adds up one part of the gradients, and updates that part; the rest of the parameters it
 * has from the others. So all have the same bits. */
typedef struct fbp_room {
    fbp_seat *seats;           /* (size,) */
    char *gradients;           /* (size, stride) of each rank: at least what it has of the parts of others */
    char *vector;              /* (stride,) parts that their owners give to all, or all parameters */
    int64_t stride;            /* bytes */
    const int64_t *bounds;     /* (size + 1,) elements: the part of rank r is from bounds[r] to bounds[r + 1] */
    int64_t rank, size, turn;
    int64_t spins;             /* how often to look for a rank before giving the processor to others */
    int32_t dtype;
    int32_t (*wait)(void *owner);   /* called now and then while others have not come: returns 1 to give up */
    void *owner;
} fbp_room;

/* An fbp_meet whose `ranks` is an fbp_room. */
int32_t fbp_meet_in_room(void *room, fbp_occasion occasion, fbp_update_plan *update, double *numbers);
/* Adds up numbers[FBP_SUMS]; returns 1 where a rank does not come, or brings a failure. */
int32_t fbp_vote(fbp_room *room, double *numbers);
/* All three return 1 as fbp_vote does. Put this rank's part of a vector into room->vector; make a vector whole of which
 * each rank has its part; give all ranks the vector of rank 0. */
int32_t fbp_give(fbp_room *room, const char *vector);
int32_t fbp_collect(fbp_room *room, char *vector);
int32_t fbp_broadcast(fbp_room *room, char *vector);

/* A plan may work in the room itself: with the parameters in room->vector, and gradients where others read them. */
static inline char *fbp_room_gradients(const fbp_room *room) { return room->gradients + room->rank * room->stride; }
/* Takes home the parameters, and this rank's part of the gradients. */
void fbp_leave_room(fbp_room *room, char *parameters, char *gradients);

/* Entries of steps that belong to no op: */
/* rows of x[0], dim[0] bytes each, as run->order and run->first say, to y; nothing if run->in_place */
void fbp_feed_rows(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch);
/* the same for rows of int64, always copied: each is at least dim[2] and below dim[1], unless that is 0; of dim[3]
 * columns, if there are several, at least integers[2 k + 1] and below integers[2 k]. Where one is not, the run has failed,
 * and the least one stands in its place. So no integer decides an address that Python could change. */
void fbp_feed_integers(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch);
/* elements of p[0] updated from dp[0], with decay[0] */
void fbp_update_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch);
/* FBP_ROW_UNITS units: rows of p[0] (dim[1], dim[0]) whose gradient in dp[0] is not 0, with decay[0]; save[0] has how many
 * rows there are to look at, then which, or is NULL: all */
void fbp_update_row_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch);

#endif
