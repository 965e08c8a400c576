# Part of src/_fanout.pyx: frames in a block and their index; the id slot.

# ------------------------------------------------------------------------------------------------------------------------- blocks

cdef void block_free(Block* block) noexcept nogil:
    free(block.data)
    free(block.end)
    free(block.partition)
    free(block.offset)
    free(block.key)
    free(block.vector)
    free(block)


cdef inline size_t block_memory(Block* block) noexcept nogil:
    return sizeof(Block) + block.room + block.entries * 24 + block.width * 8


cdef inline size_t frame_begin(Block* block, size_t i) noexcept nogil:
    return block.end[i - 1] if i else 0


cdef Block* block_new(size_t room, int64_t first, const int64_t* vector, int32_t width) noexcept nogil:
    cdef Block* block = <Block*>malloc(sizeof(Block))
    if block == NULL:
        return NULL
    block.data = <char*>malloc(room)
    block.vector = <int64_t*>malloc(8 * (width if width else 1))
    block.end = NULL
    block.partition = NULL
    block.offset = NULL
    block.key = NULL
    block.used = block.count = block.entries = block.patched_from = block.patched_to = 0
    block.room = room
    block.first = first
    block.width = width
    if block.data == NULL or block.vector == NULL:
        block_free(block)
        return NULL
    if width:
        memcpy(block.vector, vector, 8 * width)
    return block


cdef bint block_entries(Block* block, size_t wanted) noexcept nogil:
    """Room for `wanted` index entries: four arrays grown as one."""
    cdef size_t before = block.entries, room
    if wanted <= before:
        return True
    room = before
    if not grow(<void**>&block.end, &room, wanted, 4):
        return False
    room = before
    if not grow(<void**>&block.partition, &room, wanted, 4):
        return False
    room = before
    if not grow(<void**>&block.offset, &room, wanted, 8):
        return False
    room = before
    if not grow(<void**>&block.key, &room, wanted, 8):
        return False
    block.entries = room
    return True


cdef bint block_reserve(Block* block, size_t frame) noexcept nogil:
    """Room for one more frame and its entry."""
    return grow(<void**>&block.data, &block.room, block.used + frame, 1) and block_entries(block, block.count + 1)


cdef void block_put(Block* block, int opcode, bytes payload, Py_ssize_t size, int32_t partition, int64_t offset, uint64_t key):
    """Frame a payload into reserved room; size -1: an entry without a frame."""
    if size >= 0:
        block.used += write_header(block.data + block.used, opcode, size)
        memcpy(block.data + block.used, PyBytes_AS_STRING(payload), size)
        block.used += size
    block_entry(block, partition, offset, key)


cdef inline void block_entry(Block* block, int32_t partition, int64_t offset, uint64_t key) noexcept nogil:
    """Index what has been written since the last entry."""
    block.end[block.count] = block.used
    block.partition[block.count] = partition
    block.offset[block.count] = offset
    block.key[block.count] = key
    block.count += 1


cdef inline size_t frame_size(Py_ssize_t payload) noexcept nogil:
    """With its header; 0 for an entry without a frame."""
    return 0 if payload < 0 else payload + (2 if payload < 126 else 4 if payload < 65536 else 10)


cdef size_t offset_index(Block* block, int64_t offset) noexcept nogil:
    """The first entry at or behind an offset, in a block of one partition."""
    cdef size_t low = 0, high = block.count, middle
    while low < high:
        middle = (low + high) // 2
        if block.offset[middle] < offset:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline size_t header_size(size_t frame) noexcept nogil:
    """The header of a server frame of that size in all (RFC 6455, 5.2): 2, 4 or 10 bytes."""
    if frame <= 127:
        return 2
    return 4 if frame <= 65539 else 10


cdef size_t write_header(char* out, int opcode, size_t payload) noexcept nogil:
    cdef int i
    out[0] = <char>(0x80 | opcode)
    if payload < 126:
        out[1] = <char>payload
        return 2
    if payload < 65536:
        out[1] = 126
        out[2] = <char>(payload >> 8)
        out[3] = <char>(payload & 0xff)
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <char>((<uint64_t>payload >> (56 - 8 * i)) & 0xff)
    return 10


cdef inline void slot_write(Tail_* tail, char* frame, size_t size, const char* slot) noexcept nogil:
    cdef char* at = frame + header_size(size) + tail.slot_at
    cdef int i
    for i in range(tail.slot_size):
        at[i] = slot[i]


cdef inline bint same_slot(const char* a, const char* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2] and a[3] == b[3] and a[4] == b[4]


cdef void block_patch(Tail_* tail, Block* block, size_t start, size_t stop, const char* slot) noexcept nogil:
    """Make the frames start..stop carry this id. Free when they do already: most clients use the same small ids."""
    cdef size_t i, begin
    if tail.slot_size == 0:
        return
    if block.patched_from <= start and stop <= block.patched_to and same_slot(block.slot, slot):
        return
    begin = frame_begin(block, start)
    for i in range(start, stop):
        slot_write(tail, block.data + begin, block.end[i] - begin, slot)
        begin = block.end[i]
    memcpy(block.slot, slot, 5)
    block.patched_from = start
    block.patched_to = stop
