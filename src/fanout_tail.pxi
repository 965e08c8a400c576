# Part of src/_fanout.pyx: a Tail. Longer than 400 lines because a class is one piece.

cdef class Tail:
    """The newest records of one topic in one format, in blocks, and the subscribers that read it.

    format: JSON, MSGPACK or VALUE. positions: the next offset of every partition (a list by partition) where it begins.
    block_bytes: size of a block of frames; a frame that is larger has a block of its own.
    """

    cdef Tail_ tail
    cdef dict groups          # key (bytes or None) -> _Group
    cdef _Group whole
    cdef _Group several
    cdef dict several_keys    # key -> how many subscriptions of `several` want it
    cdef dict attached        # subscriptions in the order they came, so that none is freed while the loops hold its cursor
    cdef list woken
    cdef readonly int stale   # records refused since their offset was behind the tail's

    def __cinit__(self, int format, list positions not None, size_t block_bytes=524288):
        cdef int32_t p
        if format not in (F_JSON, F_MSGPACK, F_VALUE):
            raise ValueError(f"unknown format {format}")
        if not 0 < block_bytes <= LARGEST:
            raise ValueError(f"a block of {block_bytes} bytes is not possible")
        self.tail.format = format
        self.tail.slot_at, self.tail.slot_size = {F_JSON: (6, 5), F_MSGPACK: (5, 2), F_VALUE: (0, 0)}[format]
        self.tail.blocks = NULL
        self.tail.blocks_at = self.tail.blocks_end = self.tail.blocks_room = 0
        self.tail.block_bytes = block_bytes
        self.tail.end = 0
        self.tail.last_hole = -1
        self.tail.vector = self.tail.base = NULL
        self.tail.width = 0
        self.tail.memory = 0
        self.tail.delivered = self.tail.sent_bytes = 0
        memset(self.tail.states, 0, sizeof(self.tail.states))
        self.tail.wakes = NULL
        self.tail.wakes_count = self.tail.wakes_room = 0
        link_init(&self.tail.due, NULL)
        link_init(&self.tail.behind, NULL)
        link_init(&self.tail.arriving, NULL)
        self.groups = {}
        self.whole = _Group(G_WHOLE, 0)
        self.several = _Group(G_SEVERAL, 0)
        self.several_keys = {}
        self.attached = {}
        self.woken = []
        self.stale = 0
        for p in range(len(positions)):
            self.add_partition(p, positions[p])

    def __dealloc__(self):
        cdef size_t i
        link_free(&self.tail.due)
        link_free(&self.tail.behind)
        link_free(&self.tail.arriving)
        for i in range(self.tail.blocks_at, self.tail.blocks_end):
            block_free(self.tail.blocks[i])
        free(self.tail.blocks)
        free(self.tail.vector)
        free(self.tail.base)
        free(self.tail.wakes)

    # ------------------------------------------------------------------------------------------------------------- the log's side

    def add_partition(self, int32_t partition, int64_t offset):
        """A partition that exists from now on, read from `offset`. They are added in order: 0, 1, 2 ..."""
        cdef size_t room
        if partition != self.tail.width:
            raise ValueError(f"partition {partition} cannot follow {self.tail.width - 1}")
        room = 0
        if not grow(<void**>&self.tail.vector, &room, partition + 1, 8):
            raise MemoryError
        room = 0
        if not grow(<void**>&self.tail.base, &room, partition + 1, 8):
            raise MemoryError
        self.tail.vector[partition] = self.tail.base[partition] = offset
        self.tail.width += 1

    def append(self, int opcode, bytes payload not None, int32_t partition, int64_t offset, key):
        """Frame a record's payload and add it: False when its offset is behind the tail's (a repeat), which changes nothing.

        key: bytes or None, the record's. The payload of a format with ids has its id slot blank.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        if not self.tail.slot_at + self.tail.slot_size <= size <= <Py_ssize_t>LARGEST:
            raise ValueError(f"a payload of {size} bytes has no room for the id, or is too large")
        return self._append(opcode, payload, size, partition, offset, key)

    def append_hole(self, int32_t partition, int64_t offset, key):
        """A record that cannot be shown in this format: a subscription that would have it ends there, with state HOLED."""
        if not self._append(0, b"", -1, partition, offset, key):
            return False
        self.tail.last_hole = self.tail.end - 1
        return True

    def advance(self, int32_t partition, int64_t offset):
        """The log has no record before this offset that is not in the tail (control markers, compaction)."""
        self._check(partition)
        if offset > self.tail.vector[partition]:
            self.tail.vector[partition] = offset

    cdef void _check(self, int32_t partition) except *:
        if not 0 <= partition < self.tail.width:
            raise ValueError(f"partition {partition} is not of this tail, which has {self.tail.width}")

    cdef bint _append(self, int opcode, bytes payload, Py_ssize_t size, int32_t partition, int64_t offset, key) except -1:
        cdef size_t frame = frame_size(size)
        cdef uint64_t hashed = key_hash(key)
        self._check(partition)
        if offset < self.tail.vector[partition]:
            self.stale += 1
            return False
        block_put(self._block_for(frame), opcode, payload, size, partition, offset, hashed)
        self._added(partition, offset, key)
        return True

    cdef void _added(self, int32_t partition, int64_t offset, key) except *:
        self.tail.vector[partition] = offset + 1
        self.tail.end += 1
        self._mark_due(key, self.tail.end - 1)

    cdef Block* _open_frame(self, int opcode, size_t size, int32_t partition, int64_t offset) except? NULL:
        """Room for a frame, with its header: the block, whose `used` is where the payload goes. NULL: its offset is behind the tail's."""
        cdef Block* block
        if offset < self.tail.vector[partition]:
            self.stale += 1
            return NULL
        block = self._block_for(frame_size(size))
        block.used += write_header(block.data + block.used, opcode, size)
        return block

    cdef void _close_frame(self, Block* block, size_t size, int32_t partition, int64_t offset, key) except *:
        """The payload has been written."""
        block.used += size
        block_entry(block, partition, offset, key_hash(key))
        self._added(partition, offset, key)

    def append_json(self, list records not None, Py_ssize_t at, dict heads not None, size_t limit, mend):
        """Add the records from `at` on as Encoder.json and `append` would, up to one that is not usual: its place, or how many there are.

        records: of confluent_kafka. heads: {partition: payload up to the offset}. limit: bytes of a payload. mend: see has_headers.
        """
        cdef Envelope it
        cdef Block* block
        cdef object record, key, value, head
        cdef int32_t partition
        cdef size_t size
        if self.tail.format != F_JSON:
            raise ValueError("a tail of another format")
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, partition, it.offset = record.value(), record.key(), record.partition(), record.offset()
                head = heads.get(partition)
                if head is None or it.offset < 0 or not usual_time(record, &it) or has_headers(record, mend):
                    return at
            except Exception:
                return at
            if not usual_key(key, &it) or not usual_value(value, &it):
                return at
            it.head, it.head_size = PyBytes_AS_STRING(<bytes?>head), PyBytes_GET_SIZE(head)
            size = envelope_size(&it)
            if size > limit or size > LARGEST or not 0 <= partition < self.tail.width:
                return at
            block = self._open_frame(TEXT_OPCODE, size, partition, it.offset)
            if block != NULL:
                put_envelope(block.data + block.used, &it)
                self._close_frame(block, size, partition, it.offset, key)
        return PyList_GET_SIZE(records)

    def append_values(self, list records not None, Py_ssize_t at, size_t limit):
        """As append_json, of bare values and Encoder.value."""
        cdef object record, key, value
        cdef Block* block
        cdef const char* data
        cdef size_t size
        cdef int opcode
        cdef int32_t partition
        cdef int64_t offset
        if self.tail.format != F_VALUE:
            raise ValueError("a tail of another format")
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, partition, offset = record.value(), record.key(), record.partition(), record.offset()
            except Exception:
                return at
            if not bare_value(value, &data, &size, &opcode):
                return at
            if (key is not None and type(key) is not bytes) or size > limit or size > LARGEST or not 0 <= partition < self.tail.width:
                return at
            block = self._open_frame(opcode, size, partition, offset)
            if block != NULL:
                memcpy(block.data + block.used, data, size)
                self._close_frame(block, size, partition, offset, key)
        return PyList_GET_SIZE(records)

    cdef Block* _block_for(self, size_t frame) except NULL:
        """The newest block, with room for one more frame and entry."""
        cdef Tail_* tail = &self.tail
        cdef Block* block = tail.blocks[tail.blocks_end - 1] if tail.blocks_end > tail.blocks_at else NULL
        if block == NULL or (block.count and block.used + frame > tail.block_bytes):
            block = self._new_block(frame)
        tail.memory -= block_memory(block)
        if not block_reserve(block, frame):
            tail.memory += block_memory(block)
            raise MemoryError
        tail.memory += block_memory(block)
        return block

    cdef Block* _new_block(self, size_t frame) except NULL:
        cdef Tail_* tail = &self.tail
        cdef Block* block
        if tail.blocks_at and tail.blocks_end == tail.blocks_room:
            tail.blocks_end -= tail.blocks_at
            memmove(tail.blocks, tail.blocks + tail.blocks_at, tail.blocks_end * sizeof(void*))
            tail.blocks_at = 0
        if not grow(<void**>&tail.blocks, &tail.blocks_room, tail.blocks_end + 1, sizeof(void*)):
            raise MemoryError
        block = block_new(frame if frame > 4096 else 4096, tail.end, tail.vector, tail.width)
        if block == NULL:
            raise MemoryError
        tail.blocks[tail.blocks_end] = block
        tail.blocks_end += 1
        tail.memory += block_memory(block)
        return block

    cdef void _mark_due(self, key, int64_t seq) except *:
        cdef _Group group
        if self.whole.members:
            self._due(&self.whole.group, seq)
        if self.groups:
            found = self.groups.get(key)
            if found is not None:
                group = <_Group>found
                if not grow(<void**>&group.group.pending, &group.group.pending_room, group.group.pending_count + 1, 8):
                    raise MemoryError
                self._due(&group.group, seq)
                group.group.pending[group.group.pending_count] = seq
                group.group.pending_count += 1
        if self.several_keys and key in self.several_keys:
            self._due(&self.several.group, seq)

    cdef void _due(self, Group_* group, int64_t seq) noexcept:
        if linked(&group.due):
            return
        group.first = seq
        group.pending_count = 0
        link_append(&self.tail.due, &group.due)

    def evict(self):
        """Forget the oldest block: the bytes that this freed. Who still wanted it is dropped with state FALLEN, its place kept as a vector."""
        cdef Tail_* tail = &self.tail
        cdef Block* block
        cdef size_t freed
        if tail.blocks_at == tail.blocks_end:
            return 0
        block = tail.blocks[tail.blocks_at]
        self._drop_before(block.first + block.count)
        freed = block_memory(block)
        tail.blocks_at += 1
        tail.memory -= freed
        block_free(block)
        self._collect_wakes()
        return freed

    cdef void _drop_before(self, int64_t seq) except *:
        cdef Subscription subscription
        cdef Cursor* cursor
        cdef Link* link = self.tail.behind.after
        cdef Link* following
        while link != &self.tail.behind:
            following = link.after
            cursor = <Cursor*>link.item
            if cursor.seq < seq:
                self._fall(cursor)
            link = following
        if self._oldest_due() < seq:  # a pass is under way that has not offered these records to all
            for subscription in self.attached:
                cursor = &subscription.cursor
                if cursor.state == S_LIVE and place(cursor) < seq:
                    cursor.seq = place(cursor)
                    self._fall(cursor)

    cdef void _fall(self, Cursor* cursor) except *:
        (<Subscription>cursor.owner)._settle(cursor.seq)
        if cursor.state == S_HOLED:
            link_remove(&cursor.in_tail)
        else:
            drop(cursor, S_FALLEN)

    cdef int64_t _oldest_due(self) noexcept:
        cdef Link* link = self.tail.due.after
        cdef int64_t least = self.tail.end
        while link != &self.tail.due:
            least = min(least, (<Group_*>link.item).first)
            link = link.after
        return least

    # ------------------------------------------------------------------------------------------------------ the subscribers' side

    def pump(self, int64_t budget):
        """Serve subscribers that are due, until about `budget` bytes (a send counts 4096 more): True when some are left."""
        cdef bint more
        with nogil:
            more = tail_pump(&self.tail, budget)
            if not more and linked(&self.tail.arriving):
                arrivals(&self.tail)
        self._collect_wakes()
        return more

    def take_woken(self):
        """Owners of the lines that fell behind since the last call: each needs its writer."""
        woken, self.woken = self.woken, []
        return woken

    cdef void _collect_wakes(self) except *:
        cdef size_t i
        for i in range(self.tail.wakes_count):
            self.woken.append((<Line>self.tail.wakes[i].owner).owner)
        self.tail.wakes_count = 0

    def entry(self, dict positions not None):
        """The newest place from which a cursor that wants these offsets finds all of them here, or None: it must be read back first."""
        cdef Tail_* tail = &self.tail
        cdef size_t i = tail.blocks_end
        cdef Block* block
        cdef int32_t p
        if all(positions.get(p, 0) >= tail.vector[p] for p in range(tail.width)):
            return tail.end
        while i > tail.blocks_at:
            i -= 1
            block = tail.blocks[i]
            if all(positions.get(p, 0) >= (block.vector[p] if p < block.width else tail.base[p]) for p in range(tail.width)):
                return block.first
        return None

    @property
    def format(self):
        """JSON, MSGPACK or VALUE."""
        return self.tail.format

    @property
    def end(self):
        """The sequence number the next record will have."""
        return self.tail.end

    @property
    def start(self):
        """The sequence number of the oldest record it holds."""
        return oldest(&self.tail)

    @property
    def positions(self):
        """The next offset of every partition, at the end."""
        return {p: self.tail.vector[p] for p in range(self.tail.width)}

    @property
    def start_positions(self):
        """The next offset of every partition, at the oldest place."""
        cdef Tail_* tail = &self.tail
        cdef Block* block
        cdef int32_t p
        if tail.blocks_at == tail.blocks_end:
            return self.positions
        block = tail.blocks[tail.blocks_at]
        return {p: block.vector[p] if p < block.width else tail.base[p] for p in range(tail.width)}

    @property
    def memory_bytes(self):
        """What blocks and index take."""
        return self.tail.memory

    @property
    def unserved_bytes(self):
        """Appended bytes that have not been offered to all live subscribers."""
        return bytes_from(&self.tail, self._oldest_due())

    @property
    def offered(self):
        """The sequence number before which everything has been offered to all live subscribers."""
        return self._oldest_due()

    @property
    def delivered(self):
        """Records committed to a connection since the beginning, counted for each."""
        return self.tail.delivered

    @property
    def subscribers(self):
        """How many subscriptions it has."""
        return len(self.attached)

    def statistics(self):
        """Counters: records and bytes since the beginning, what is held, how many subscriptions are in which state, and how
        many ids those of the whole topic have, each of which a pass looks at."""
        cdef size_t* states = self.tail.states
        return {
            "records": self.tail.end, "held": self.tail.end - oldest(&self.tail), "memory_bytes": self.tail.memory,
            "delivered": self.tail.delivered, "sent_bytes": self.tail.sent_bytes, "stale": self.stale,
            "live": states[S_LIVE], "behind": states[S_BEHIND] + states[S_ARRIVED] + states[S_RESTING],
            "resting": states[S_RESTING], "reading": states[S_READING], "dropped": states[S_FALLEN] + states[S_HOLED],
            "lanes": self.whole.group.lanes_count,
        }

    cdef _Group _group_of(self, frozenset keys, bint create):
        cdef _Group group
        if keys is None:
            return self.whole
        if len(keys) > 1:
            return self.several
        key, = keys
        group = self.groups.get(key)
        if group is None and create:
            group = self.groups[key] = _Group(G_KEY, key_hash(key))
        return group

    cdef void _attach(self, Subscription subscription, frozenset keys) except *:
        cdef _Group group = self._group_of(keys, True)
        subscription.group = group
        subscription.cursor.group = &group.group
        group.join(&subscription.cursor)
        if group is self.several:
            for key in keys:
                self.several_keys[key] = self.several_keys.get(key, 0) + 1
        self.attached[subscription] = None
        self.tail.states[subscription.cursor.state] += 1

    cdef void _detach(self, Subscription subscription, frozenset keys) except *:
        cdef _Group group = subscription.group
        group.leave(&subscription.cursor)
        self.attached.pop(subscription, None)
        self.tail.states[subscription.cursor.state] -= 1
        if group is self.several:
            for key in keys:
                self.several_keys[key] -= 1
                if not self.several_keys[key]:
                    del self.several_keys[key]
        if group.members == 0:
            link_remove(&group.group.due)
            group.group.passing = False
            if group.group.kind == G_KEY:
                key, = keys
                del self.groups[key]
