# The C API (src_c/fastbp.h), as far as the Cython modules use it, and what other modules may cimport.
from libc.stdint cimport int32_t, int64_t, uint64_t


cdef extern from "float_mode.h" nogil:
    uint64_t fbp_flush_subnormals(int32_t flush)
    void fbp_set_float_mode(uint64_t mode)


cdef extern from "fastbp.h" nogil:
    ctypedef enum fbp_status:
        FBP_OK
        FBP_ERROR_ISA
        FBP_ERROR_LOSS
        FBP_ERROR_GRADIENT
        FBP_ERROR_PARAMETER
        FBP_ERROR_STEP
        FBP_PAUSED

    enum:
        FBP_MOST_INPUTS
        FBP_MOST_PARAMETERS
        FBP_MOST_BUFFERS
        FBP_MOST_SAVES
        FBP_MOST_DIMS
        FBP_MOST_ATTRS
        FBP_MOST_STATES
        FBP_MOST_HYPER

    ctypedef struct fbp_activation:
        int32_t op
        double alpha
        const void *from_ "from"

    ctypedef struct fbp_fusion:
        fbp_activation act
        void *slope
        const void *affine
        fbp_activation gate
        int32_t updates

    ctypedef struct fbp_loss:
        const void *target
        const void *weight
        double scale
        void *row_weight
        double *row_loss
        const double *total
        double *row_right

    ctypedef struct fbp_call:
        void *object
        void *plan

    ctypedef struct fbp_node:
        void *x[FBP_MOST_INPUTS]
        void *dx[FBP_MOST_INPUTS]
        void *y
        void *dy
        void *p[FBP_MOST_PARAMETERS]
        void *dp[FBP_MOST_PARAMETERS]
        double decay[FBP_MOST_PARAMETERS]
        double rate[FBP_MOST_PARAMETERS]
        void *buffer[FBP_MOST_BUFFERS]
        void *save[FBP_MOST_SAVES]
        void *prepared
        const void *constants
        const int64_t *integers
        int64_t dim[FBP_MOST_DIMS]
        double attr[FBP_MOST_ATTRS]
        int64_t id
        int32_t adds
        int32_t bf16
        fbp_fusion fusion
        fbp_loss loss
        fbp_call call

    ctypedef int32_t (*fbp_update)(void *p, void **state, const void *g, int64_t n, const double *hyper,
                                   double weight_decay) noexcept
    ctypedef void (*fbp_begin)(double *hyper) noexcept

    ctypedef struct fbp_update_plan:
        fbp_update update
        fbp_begin begin
        double hyper[16]
        char *parameters
        char *gradients
        char *state[FBP_MOST_STATES]
        int64_t item_size
        int64_t first
        int64_t last
        int32_t bad

    ctypedef struct fbp_run:
        int64_t rows
        uint64_t seed
        uint64_t step
        int32_t training
        fbp_update_plan *update
        const int64_t *order
        int64_t first
        int32_t in_place
        int32_t *failed
        int64_t before
        int64_t whole
        int32_t single

    int FBP_PRODUCT_SCRATCH_BYTES

    ctypedef void (*fbp_entry)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept

    ctypedef enum fbp_domain:
        FBP_OVER_ROWS
        FBP_OVER_UNITS

    ctypedef struct fbp_phases:
        fbp_entry forward
        fbp_entry gradient

    ctypedef struct fbp_table:
        const char *name
        const fbp_phases *op[2][1]
        fbp_update update[2][1]
        fbp_begin begin[1]
        fbp_phases accumulate_phases[2]
        double (*fma_loop[2])(int64_t n) noexcept
        int32_t vector_bytes

    fbp_status fbp_select_table(const char *name, const fbp_table **table)
    const fbp_table *fbp_known_table(int32_t i, int32_t *supported)

    int32_t fbp_has_bf16(const fbp_table *table)

    int32_t fbp_find_op(const char *name)
    int32_t fbp_find_optimizer(const char *name)
    int32_t fbp_find_instruction(const char *name)

    const char *fbp_phase_name(int32_t i)
    fbp_domain fbp_phase_domain(int32_t i)
    fbp_entry fbp_phase_entry(const fbp_phases *phases, int32_t i)

    enum:
        FBP_ROW_UNITS

    ctypedef struct fbp_step:
        fbp_entry run
        const fbp_node *node
        int32_t domain
        int32_t group
        int64_t units
        int64_t chunk
        double cost

    ctypedef struct fbp_program:
        const fbp_step *steps
        int64_t n_steps
        int64_t tile
        int32_t n_threads
        double fork_cost
        char *scratch
        int64_t scratch_bytes

    ctypedef struct fbp_direct:
        const void **place
        const char *source
        int64_t row_bytes

    ctypedef struct fbp_segment:
        int64_t offset
        int64_t length
        double weight_decay

    ctypedef struct fbp_rows:
        char *gradients
        const int64_t *touched
        int64_t width

    ctypedef struct fbp_part:
        int64_t first
        int64_t rows
        int64_t before
        int64_t whole

    enum:
        FBP_SUMS

    ctypedef enum fbp_occasion:
        FBP_MEET_BATCH
        FBP_MEET_BEGIN
        FBP_MEET_PIECE

    ctypedef int32_t (*fbp_meet)(void *ranks, fbp_occasion occasion, fbp_update_plan *update,
                                 double *numbers) noexcept nogil

    ctypedef struct fbp_pace:
        pass

    ctypedef struct fbp_loop:
        const fbp_table *table
        int32_t dtype
        const fbp_program *program
        const fbp_program *finish
        double **row_losses
        const int64_t *loss_rows
        int64_t n_losses
        fbp_run run
        const fbp_direct *direct
        int64_t n_direct
        int32_t check_gradients
        double gradient_limit
        double clip_norm
        double clip_value
        const fbp_segment *segments
        int64_t n_segments
        const fbp_rows *tables
        int64_t n_tables
        int64_t n_rows
        int64_t batch_size
        const double *learning_rates
        double *losses
        double *tally
        const fbp_loss **loss_of
        int64_t position
        int64_t stop
        fbp_meet meet
        void *ranks
        const fbp_program *refresh
        const fbp_program *pieces
        int64_t n_pieces
        const fbp_part *parts
        const double *totals
        double *total
        fbp_pace *pace

    void fbp_run_program(const fbp_program *program, const fbp_run *run)
    double fbp_total_loss(double **row_losses, const int64_t *loss_rows, int64_t n_losses, int64_t rows)
    fbp_status fbp_run_loop(fbp_loop *loop, double seconds)
    fbp_status fbp_run_update(fbp_loop *loop, double lr)
    ctypedef struct fbp_seat:
        int64_t turn
        int64_t left

    ctypedef struct fbp_room:
        fbp_seat *seats
        char *gradients
        char *vector
        int64_t stride
        const int64_t *bounds
        int64_t rank
        int64_t size
        int64_t turn
        int64_t spins
        int32_t dtype
        int32_t (*wait)(void *owner) noexcept nogil
        void *owner

    int32_t fbp_meet_in_room(void *room, fbp_occasion occasion, fbp_update_plan *update,
                             double *numbers) noexcept nogil
    int32_t fbp_vote(fbp_room *room, double *numbers) nogil
    int32_t fbp_give(fbp_room *room, const char *vector) nogil
    int32_t fbp_collect(fbp_room *room, char *vector) nogil
    int32_t fbp_broadcast(fbp_room *room, char *vector) nogil
    char *fbp_room_gradients(const fbp_room *room) nogil
    void fbp_leave_room(fbp_room *room, char *parameters, char *gradients) nogil

    void fbp_feed_rows(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept
    void fbp_feed_integers(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept
    void fbp_update_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept
    void fbp_update_row_units(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept


cdef const fbp_table *selected_table() noexcept
cdef const fbp_table *table_named(str name) except NULL
