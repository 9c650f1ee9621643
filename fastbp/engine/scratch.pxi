# Included by kernels.pyx: memory that products copy their operands to, as each thread of a plan has its own.
#
# A call takes a block and gives it back. Blocks that no call uses are kept for the next one, a few of them; so no two
# calls have the same block at a time, whichever threads they are on, and what is kept is bounded. Where there is no
# memory for a block, products copy nothing, and are slower.
cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>

    /* Products of fewer multiply-adds copy next to nothing, and take no block. */
    enum { FBP_SPARE_BLOCKS = 8, FBP_FEW_MULTIPLY_ADDS = 1 << 17, FBP_CACHE_LINE = 64 };

    static void *fbp_spare[FBP_SPARE_BLOCKS];

    static void *fbp_take_block(int64_t multiply_adds)
    {
        if (multiply_adds < FBP_FEW_MULTIPLY_ADDS) return NULL;
        for (int i = 0; i < FBP_SPARE_BLOCKS; i++)
            if (__atomic_load_n(&fbp_spare[i], __ATOMIC_RELAXED)) {
                void *block = __atomic_exchange_n(&fbp_spare[i], NULL, __ATOMIC_ACQUIRE);
                if (block) return block;
            }
        return malloc(FBP_PRODUCT_SCRATCH_BYTES + FBP_CACHE_LINE);
    }

    static void *fbp_first_line(void *block)
    {
        return block ? (char *)block + (-(uintptr_t)block & (FBP_CACHE_LINE - 1)) : NULL;
    }

    static void fbp_give_block(void *block)
    {
        if (!block) return;
        for (int i = 0; i < FBP_SPARE_BLOCKS; i++) {
            void *none = NULL;
            if (__atomic_compare_exchange_n(&fbp_spare[i], &none, block, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return;
        }
        free(block);
    }
    """
    void *fbp_take_block(int64_t multiply_adds) noexcept nogil
    void *fbp_first_line(void *block) noexcept nogil
    void fbp_give_block(void *block) noexcept nogil
