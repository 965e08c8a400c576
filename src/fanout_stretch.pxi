# Part of src/_fanout.pyx: a Stretch.

cdef class Stretch:
    """Records of one partition in one format, read back from Kafka, framed like the tail's, shared by whoever needs them.

    start: the offset at which reading began. Made by one thread, then sealed and given to the one that sends. `append_json` and
    `append_values` take no record from offset `until` on, nor any once `full_bytes` of payload are in it.
    """

    cdef Stretch_ stretch
    cdef readonly int format
    cdef readonly int64_t start
    cdef readonly int64_t payload_bytes  # without the frames' headers
    cdef int64_t until
    cdef int64_t full_bytes
    cdef int slot_end

    def __cinit__(self, int format, int32_t partition, int64_t start, int64_t until=ENDLESS, int64_t full_bytes=ENDLESS):
        link_init(&self.stretch.readers, NULL)
        self.stretch.block = block_new(4096, 0, NULL, 0)
        if self.stretch.block == NULL:
            raise MemoryError
        if format not in (F_JSON, F_MSGPACK, F_VALUE) or partition < 0:
            raise ValueError(f"unknown format {format}, or partition {partition} below 0")
        self.stretch.partition = partition
        self.stretch.next = self.start = start
        self.stretch.holes = 0
        self.payload_bytes = 0
        self.until, self.full_bytes = until, full_bytes
        self.format = format
        self.slot_end = {F_JSON: 11, F_MSGPACK: 7, F_VALUE: 0}[format]

    def __dealloc__(self):
        link_free(&self.stretch.readers)
        if self.stretch.block != NULL:
            block_free(self.stretch.block)

    def append(self, int opcode, bytes payload not None, int64_t offset, key):
        """Frame a record's payload and add it, as Tail.append does; offsets rise."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        if not self.slot_end <= size <= <Py_ssize_t>LARGEST:
            raise ValueError(f"a payload of {size} bytes has no room for the id, or is too large")
        self._append(opcode, payload, size, offset, key)
        self.payload_bytes += size

    def append_hole(self, int64_t offset, key):
        """A record that cannot be shown in this format: a subscription that would have it ends there, with state HOLED."""
        self._append(0, b"", -1, offset, key)
        self.stretch.holes += 1

    cdef void _append(self, int opcode, bytes payload, Py_ssize_t size, int64_t offset, key) except *:
        cdef uint64_t hashed = key_hash(key)
        if offset < self.stretch.next:
            raise ValueError(f"offset {offset} does not follow {self.stretch.next - 1}")
        block_put(self._block_for(frame_size(size)), opcode, payload, size, self.stretch.partition, offset, hashed)
        self.stretch.next = offset + 1

    def append_json(self, list records not None, Py_ssize_t at, dict heads not None, size_t limit, mend):
        """As Tail.append_json, of records of its partition; it ends also at `until`, and behind the one that makes it full."""
        cdef Envelope it
        cdef object record, key, value
        cdef object head = heads.get(self.stretch.partition)
        cdef size_t size
        if self.format != F_JSON:
            raise ValueError("a stretch of another format")
        if head is None:
            return at
        it.head, it.head_size = PyBytes_AS_STRING(<bytes?>head), PyBytes_GET_SIZE(head)
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, it.offset = record.value(), record.key(), record.offset()
                if not self._takes(it.offset):
                    return at
                if it.offset < self.stretch.next:
                    continue
                if not usual_time(record, &it) or has_headers(record, mend):
                    return at
            except Exception:
                return at
            if not usual_key(key, &it) or not usual_value(value, &it):
                return at
            size = envelope_size(&it)
            if size > limit or size > LARGEST:
                return at
            put_envelope(self._open_frame(TEXT_OPCODE, size), &it)
            self._close_frame(size, it.offset, key)
        return PyList_GET_SIZE(records)

    def append_values(self, list records not None, Py_ssize_t at, size_t limit):
        """As append_json, of bare values and Encoder.value."""
        cdef object record, key, value
        cdef const char* data
        cdef size_t size
        cdef int opcode
        cdef int64_t offset
        if self.format != F_VALUE:
            raise ValueError("a stretch of another format")
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, offset = record.value(), record.key(), record.offset()
            except Exception:
                return at
            if not self._takes(offset):
                return at
            if offset < self.stretch.next:
                continue
            if not bare_value(value, &data, &size, &opcode) or (key is not None and type(key) is not bytes):
                return at
            if size > limit or size > LARGEST:
                return at
            memcpy(self._open_frame(opcode, size), data, size)
            self._close_frame(size, offset, key)
        return PyList_GET_SIZE(records)

    cdef bint _takes(self, int64_t offset) noexcept:
        """Whether a record at this offset is its own, and there is room for it."""
        return 0 <= offset < self.until and self.payload_bytes < self.full_bytes

    cdef char* _open_frame(self, int opcode, size_t size) except NULL:
        """Where the payload of a frame goes, whose header is written."""
        cdef Block* block = self._block_for(frame_size(size))
        block.used += write_header(block.data + block.used, opcode, size)
        return block.data + block.used

    cdef void _close_frame(self, size_t size, int64_t offset, key) except *:
        """The payload has been written."""
        self.stretch.block.used += size
        self.payload_bytes += size
        block_entry(self.stretch.block, self.stretch.partition, offset, key_hash(key))
        self.stretch.next = offset + 1

    cdef Block* _block_for(self, size_t frame) except NULL:
        """Its block, with room for one more frame and entry."""
        if self.stretch.block.used + frame > 2 * LARGEST or not block_reserve(self.stretch.block, frame):
            raise MemoryError
        return self.stretch.block

    def seal(self, int64_t next):
        """Everything the log has from `start` up to `next` is in it now."""
        if next < self.stretch.next:
            raise ValueError(f"it already holds offset {self.stretch.next - 1}, so it cannot end at {next}")
        self.stretch.next = next

    def revoke(self):
        """Whoever reads it is dropped with state FALLEN, its place kept: for one that is to be forgotten.

        The owners of the lines whose writers are needed to tell them, as of Tail.take_woken.
        """
        cdef Cursor* cursor
        cdef Tail tail
        cdef list woken = []
        while linked(&self.stretch.readers):
            cursor = <Cursor*>self.stretch.readers.after.item
            tail = (<Subscription>cursor.owner).tail
            drop(cursor, S_FALLEN)
            (<Subscription>cursor.owner).stretch = None
            tail._collect_wakes()
            woken += tail.take_woken()
        return woken

    @property
    def partition(self):
        """Of its records."""
        return self.stretch.partition

    @property
    def next(self):
        """The offset at which reading goes on."""
        return self.stretch.next

    @property
    def records(self):
        """How many there are."""
        return self.stretch.block.count

    @property
    def memory_bytes(self):
        """What it takes."""
        return block_memory(self.stretch.block)
