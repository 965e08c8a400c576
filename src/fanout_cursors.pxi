# Part of src/_fanout.pyx: where a cursor stands, how it falls behind and is dropped; what of a tail it wants, gathered.

# ------------------------------------------------------------------------------------------------------------------------ cursors

cdef Block* locate(Tail_* tail, int64_t seq) noexcept nogil:
    """The block that holds this record; NULL when it is evicted, or not yet there."""
    cdef size_t low = tail.blocks_at, high = tail.blocks_end, middle
    if seq >= tail.end or low == high or seq < tail.blocks[low].first:
        return NULL
    if seq >= tail.blocks[high - 1].first:
        return tail.blocks[high - 1]
    while high - low > 1:
        middle = (low + high) // 2
        if tail.blocks[middle].first <= seq:
            low = middle
        else:
            high = middle
    return tail.blocks[low]


cdef inline int64_t oldest(Tail_* tail) noexcept nogil:
    return tail.blocks[tail.blocks_at].first if tail.blocks_at < tail.blocks_end else tail.end


cdef inline int64_t place(Cursor* cursor) noexcept nogil:
    """The sequence number of the next record this cursor has not been offered."""
    cdef int64_t offered
    if cursor.state != S_LIVE:
        return cursor.seq
    offered = cursor.group.first if linked(&cursor.group.due) else cursor.tail.end
    return cursor.seq if cursor.seq > offered else offered


cdef void vector_at(Tail_* tail, int64_t seq, int64_t* out) noexcept nogil:
    """The next offset of every partition at a place in the tail (out has tail.width entries)."""
    cdef Block* block
    cdef size_t i, stop
    if seq >= tail.end:
        memcpy(out, tail.vector, 8 * tail.width)
        return
    memcpy(out, tail.base, 8 * tail.width)
    block = locate(tail, seq)
    if block == NULL:
        return
    memcpy(out, block.vector, 8 * block.width)
    stop = seq - block.first
    for i in range(stop):
        out[block.partition[i]] = block.offset[i] + 1


cdef inline void become(Cursor* cursor, int state) noexcept nogil:
    """Of a cursor whose subscription is attached: its tail counts states."""
    cursor.tail.states[cursor.state] -= 1
    cursor.tail.states[state] += 1
    cursor.state = state


cdef void fall_behind(Cursor* cursor) noexcept nogil:
    become(cursor, S_BEHIND)
    link_remove(&cursor.in_tail)
    link_append(&cursor.tail.behind, &cursor.in_tail)
    link_append(&cursor.wire.behind, &cursor.in_wire)
    wake(cursor.tail, cursor.wire)


cdef void drop(Cursor* cursor, int state) noexcept nogil:
    """It cannot go on by itself: the connection's writer is told. One that keeps its place in the tail stays in its ring (see _fall)."""
    cdef bint reading = cursor.state == S_READING
    link_remove(&cursor.in_tail)
    link_remove(&cursor.in_wire)
    link_remove(&cursor.in_stretch)
    if not reading and (state == S_HOLED or state == S_ARRIVED or state == S_RESTING):
        link_append(&cursor.tail.behind, &cursor.in_tail)
    become(cursor, state)
    cursor.told = False
    if state == S_FALLEN:
        cursor.stretch = NULL
    cursor.wire.dropped += 1
    wake(cursor.tail, cursor.wire)


cdef void floor_check(Cursor* cursor) noexcept nogil:
    """At the end of the tail: forget the floor once the tail has passed it in every partition."""
    cdef int32_t p
    for p in range(cursor.floors):
        if p >= cursor.tail.width or cursor.tail.vector[p] < cursor.floor[p]:
            return
    free(cursor.floor)
    cursor.floor = NULL
    cursor.floors = 0
    cursor.counted_from = -1  # what waits is counted anew: records below the floor were not its own


cdef bint goal_pass(Cursor* cursor, int32_t partition) noexcept nogil:
    """It has passed its goal in this partition: True when that was the last one."""
    cursor.goal[partition] = 0
    cursor.goals_left -= 1
    return cursor.goals_left == 0


cdef bint goal_check(Cursor* cursor, const int64_t* vector, int32_t width) noexcept nogil:
    """Pass the goals that this place is at or behind: True when none is left since then."""
    cdef int32_t p
    for p in range(cursor.goals):
        if p < width and cursor.goal[p] and vector[p] >= cursor.goal[p] and goal_pass(cursor, p):
            return True
    return False


cdef inline bint has_goal(Cursor* cursor, int32_t partition) noexcept nogil:
    return cursor.goals_left > 0 and partition < cursor.goals and cursor.goal[partition] != 0


cdef inline bint below_floor(Cursor* cursor, int32_t partition, int64_t offset) noexcept nogil:
    return cursor.floor != NULL and partition < cursor.floors and offset < cursor.floor[partition]


cdef inline bint wants(Cursor* cursor, uint64_t key) noexcept nogil:
    cdef size_t low = 0, high = cursor.keys_count, middle
    if cursor.keys == NULL:
        return True
    while low < high:
        middle = (low + high) // 2
        if cursor.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < cursor.keys_count and cursor.keys[low] == key


# ----------------------------------------------------------------------------------------------------------------------- waiting

cdef size_t bytes_from(Tail_* tail, int64_t seq) noexcept nogil:
    """Of all frames from a place on."""
    cdef Block* block
    cdef size_t i = tail.blocks_end, size = 0
    while i > tail.blocks_at:
        i -= 1
        block = tail.blocks[i]
        if block.first <= seq:
            return size + block.used - frame_begin(block, seq - block.first)
        size += block.used
    return size


cdef size_t own_bytes(Cursor* cursor, int64_t seq, int64_t stop) noexcept nogil:
    """Of its frames among the records seq..stop."""
    cdef Block* block = locate(cursor.tail, seq)
    cdef size_t i, last, size = 0
    while block != NULL and seq < stop:
        last = min(block.count, <size_t>(stop - block.first))
        for i in range(seq - block.first, last):
            if wants(cursor, block.key[i]) and not below_floor(cursor, block.partition[i], block.offset[i]):
                size += block.end[i] - frame_begin(block, i)
        seq = block.first + last
        block = locate(cursor.tail, seq)
    return size


cdef size_t waiting(Cursor* cursor, int64_t seq) noexcept nogil:
    """Bytes of its own frames from its place `seq` on, as far as was counted before and WAITS_RECORDS further.

    A client that does not read may have a thousand cursors, each with millions of records before it: none is counted twice.
    """
    cdef int64_t upto
    if cursor.keys == NULL and cursor.floor == NULL:
        return bytes_from(cursor.tail, seq)
    if cursor.counted_from < oldest(cursor.tail) or not 0 <= seq - cursor.counted_from <= 4 * WAITS_RECORDS or seq > cursor.counted:
        cursor.counted_from = cursor.counted = seq
        cursor.counted_bytes = 0
    cursor.counted_bytes -= own_bytes(cursor, cursor.counted_from, seq)
    cursor.counted_from = seq
    upto = min(cursor.tail.end, cursor.counted + WAITS_RECORDS)
    cursor.counted_bytes += own_bytes(cursor, cursor.counted, upto)
    cursor.counted = upto
    return cursor.counted_bytes


# --------------------------------------------------------------------------------------------------------------------- gathering

cdef bint gather_frame(Tail_* tail, Block* block, size_t i, const char* slot) noexcept nogil:
    """Copy one frame to the scratch, with this id; False when memory is out."""
    cdef size_t begin = frame_begin(block, i), size = block.end[i] - begin, entries = scratch.entries
    if not grow(<void**>&scratch.data, &scratch.room, scratch.used + size, 1):
        return False
    if not grow(<void**>&scratch.end, &entries, scratch.count + 1, 4):
        return False
    if not grow(<void**>&scratch.seq, &scratch.entries, scratch.count + 1, 8):
        return False
    memcpy(scratch.data + scratch.used, block.data + begin, size)
    if tail.slot_size:
        slot_write(tail, scratch.data + scratch.used, size, slot)
    scratch.used += size
    scratch.end[scratch.count] = scratch.used
    scratch.seq[scratch.count] = block.first + i
    scratch.count += 1
    return True


cdef int64_t gather_walk(Cursor* cursor, int64_t seq, size_t limit, Stop* stop) noexcept nogil:
    """Gather what this cursor wants from seq on, until `limit` bytes, a hole, or a goal is passed: where it stopped.

    Behind a block, also when so many records were passed that this cost as much as `limit` bytes: a tail may hold millions.
    """
    cdef Tail_* tail = cursor.tail
    cdef int64_t begun = seq
    cdef Block* block = locate(tail, seq)
    cdef size_t i
    cdef int32_t p
    scratch.used = scratch.count = 0
    stop.hole = False
    stop.passed = -1
    if cursor.conflated and not newest_find(cursor):
        cursor.wire.error = ENOMEM
        return seq
    while block != NULL:
        for i in range(seq - block.first, block.count):
            p = block.partition[i]
            if scratch.used >= limit or (cursor.conflated and block.first + <int64_t>i >= newest.stop):
                return block.first + i
            if has_goal(cursor, p) and block.offset[i] >= cursor.goal[p]:
                stop.passed = p
                return block.first + i
            if wants(cursor, block.key[i]) and not below_floor(cursor, p, block.offset[i]):
                if cursor.conflated and superseded(block.key[i], block.first + i):
                    continue
                if block.end[i] == frame_begin(block, i):
                    stop.hole = True
                    return block.first + i
                if not gather_frame(tail, block, i, cursor.slot):
                    cursor.wire.error = ENOMEM
                    return block.first + i
            if has_goal(cursor, p) and block.offset[i] + 1 == cursor.goal[p]:
                stop.passed = p
                return block.first + i + 1
        seq = block.first + block.count
        if not cursor.conflated and WALK_COST * <size_t>(seq - begun) >= limit:
            return seq
        block = locate(tail, seq)
    return seq


cdef bint newest_clear(size_t keys) noexcept nogil:
    """Room for this many keys, and none in it; False when memory is out."""
    cdef size_t size = 16, room = newest.room
    while size < 2 * keys:
        size *= 2
    if not grow(<void**>&newest.key, &room, size, 8):
        return False
    if not grow(<void**>&newest.seq, &newest.room, size, 8):
        return False
    newest.mask = size - 1
    memset(newest.key, 0, 8 * size)
    return True


cdef inline size_t newest_place(uint64_t key) noexcept nogil:
    cdef size_t at = key & newest.mask
    while newest.key[at] != NO_KEY and newest.key[at] != key:
        at = (at + 1) & newest.mask
    return at


cdef bint newest_find(Cursor* cursor) noexcept nogil:
    """Note the newest record of each key that this cursor wants, from its place on, as far as one round goes."""
    cdef int64_t seq = cursor.seq, last = cursor.tail.end
    cdef Block* block = locate(cursor.tail, seq)
    cdef size_t i, at
    if last - seq > ROUND_RECORDS:
        last = seq + ROUND_RECORDS
    newest.keys = 0
    newest.start = seq
    newest.stop = last
    if not newest_clear(last - seq if last - seq < ROUND_KEYS else ROUND_KEYS):
        return False
    while block != NULL and seq < last:
        for i in range(seq - block.first, block.count):
            if block.first + <int64_t>i >= last or newest.keys == ROUND_KEYS:
                newest.stop = block.first + i
                return True
            if block.key[i] != NO_KEY and wants(cursor, block.key[i]) and not below_floor(cursor, block.partition[i], block.offset[i]):
                at = newest_place(block.key[i])
                newest.keys += newest.key[at] == NO_KEY
                newest.key[at] = block.key[i]
                newest.seq[at] = block.first + i
        seq = block.first + block.count
        block = locate(cursor.tail, seq)
    return True


cdef inline bint superseded(uint64_t key, int64_t seq) noexcept nogil:
    return key != NO_KEY and newest.seq[newest_place(key)] > seq


cdef int64_t gather_pending(Tail_* tail, Group_* group) noexcept nogil:
    """Gather a key's records that are pending, until GATHER bytes: the place up to which they are gathered.

    Holes are left out, having no frame: a cursor that has one before it walks (see must_walk).
    """
    cdef Block* block
    cdef size_t k, i
    scratch.used = scratch.count = 0
    for k in range(group.pending_count):
        if scratch.used >= GATHER:
            return group.pending[k]
        block = locate(tail, group.pending[k])
        if block == NULL:  # evicted: its cursors have been dropped
            continue
        i = group.pending[k] - block.first
        if block.end[i] > frame_begin(block, i) and not gather_frame(tail, block, i, b"     "):
            return group.pending[k]
    return tail.end


cdef void scratch_patch(Tail_* tail, const char* slot) noexcept nogil:
    cdef size_t k, begin = 0
    if tail.slot_size == 0:
        return
    for k in range(scratch.count):
        slot_write(tail, scratch.data + begin, scratch.end[k] - begin, slot)
        begin = scratch.end[k]
