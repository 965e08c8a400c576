# Part of src/_fanout.pyx: a Subscription.

cdef class Subscription:
    """A cursor: what one subscription of one connection has had.

    id: 0..65535, written into the id slot. keys: a frozenset of bytes and None, or None for every record. floor: {partition: offset} below
    which records are not wanted. seq: where in the tail it begins (default: the end). away: it does not begin in the tail but at `floor`,
    in state FALLEN, to be fed. goal: {partition: offset}: when all are passed it stops with state ARRIVED, until `go_on`. owner: any object.
    ValueError when seq is no longer, or not yet, in the tail.
    """

    cdef Cursor cursor
    cdef readonly Line line
    cdef readonly Tail tail
    cdef readonly frozenset keys
    cdef Stretch stretch
    cdef _Group group
    cdef readonly int id
    cdef public object owner

    def __cinit__(
        self, Line line not None, Tail tail not None, int id, frozenset keys=None, seq=None, dict floor=None, owner=None,
        bint away=False, dict goal=None,
    ):
        cdef int64_t begin = tail.tail.end if seq is None else seq
        self.cursor.keys = NULL
        self.cursor.floor = NULL
        self.cursor.goal = NULL
        link_init(&self.cursor.in_tail, <void*>&self.cursor)
        link_init(&self.cursor.in_wire, <void*>&self.cursor)
        link_init(&self.cursor.in_line, <void*>&self.cursor)
        link_init(&self.cursor.in_stretch, <void*>&self.cursor)
        if not 0 <= id <= 65535:
            raise ValueError(f"id {id} is not in 0..65535")
        if keys is not None and not keys:
            raise ValueError("keys must not be empty: None stands for every record")
        if not oldest(&tail.tail) <= begin <= tail.tail.end:
            raise ValueError(f"place {begin} is not in the tail, which holds {oldest(&tail.tail)} to {tail.tail.end}")
        if away and not floor:
            raise ValueError("who begins outside the tail says where")
        self.line, self.tail, self.id, self.keys, self.owner = line, tail, id, keys, owner
        self._init_cursor(begin)
        self._set_keys()
        if floor:
            self._set_floor(floor)
        if goal:
            self._set_goal(goal)
        tail._attach(self, keys)
        link_append(&line.wire.cursors, &self.cursor.in_line)
        if away:
            become(&self.cursor, S_FALLEN)
            self.cursor.told = True
        else:
            self._join(begin)
            tail._collect_wakes()

    cdef void _join(self, int64_t seq) except *:
        """Go on in the tail: live at its end, else behind, which asks for the writer."""
        cdef Cursor* cursor = &self.cursor
        cursor.seq = seq
        cursor.counted_from = cursor.counted = seq
        cursor.counted_bytes = 0
        if seq < self.tail.tail.end:
            fall_behind(cursor)
            return
        go_live(cursor)
        at_end(cursor)

    def enter(self, int64_t seq):
        """From FALLEN into the tail, at a place where it has everything before (Tail.entry). Take the tail's woken afterwards."""
        if self.cursor.state != S_FALLEN:
            raise ValueError("only who has fallen enters")
        if not oldest(&self.tail.tail) <= seq <= self.tail.tail.end:
            raise ValueError(f"place {seq} is not in the tail")
        self.stretch = None
        self._join(seq)
        self.tail._collect_wakes()

    def feed(self, Stretch stretch not None, upto=None):
        """From FALLEN to READING: send what is wanted of the stretch, to its end or the offset `upto`; then it is FALLEN again.

        True when the caller must start the connection's writer. ValueError when the stretch does not hold the next offset wanted.
        """
        cdef Cursor* cursor = &self.cursor
        cdef int32_t p = stretch.stretch.partition
        if cursor.state != S_FALLEN or stretch.format != self.tail.tail.format:
            raise ValueError("only who has fallen is fed, with its own format")
        if p >= cursor.floors:
            self._set_floor(self.positions)
        if p >= cursor.floors or not stretch.start <= cursor.floor[p] <= stretch.stretch.next:
            raise ValueError("the stretch does not go on where this subscription is")
        self.stretch = stretch
        cursor.stretch = &stretch.stretch
        cursor.upto = stretch.stretch.next if upto is None else min(<int64_t>upto, stretch.stretch.next)
        become(cursor, S_READING)
        link_append(&cursor.wire.behind, &cursor.in_wire)
        link_append(&stretch.stretch.readers, &cursor.in_stretch)
        if cursor.wire.woken:
            return False
        cursor.wire.woken = True
        return True

    def go_on(self):
        """From ARRIVED: what is to be said there has been said. Take the tail's woken afterwards."""
        if self.cursor.state == S_ARRIVED:
            self._join(self.cursor.seq)
            self.tail._collect_wakes()

    def pass_hole(self):
        """From HOLED: leave that record out and go on behind it, in the tail or FALLEN. Take the tail's woken afterwards."""
        cdef Cursor* cursor = &self.cursor
        if cursor.state != S_HOLED:
            raise ValueError("only who met a hole passes it")
        if cursor.hole >= 0:
            cursor.floor[cursor.hole] += 1
            cursor.stretch = NULL
            become(cursor, S_FALLEN)
        elif cursor.seq < oldest(cursor.tail):  # it was evicted meanwhile, and the place settled: the hole is met again
            link_remove(&cursor.in_tail)
            become(cursor, S_FALLEN)
        else:
            self._join(cursor.seq + 1)
            self.tail._collect_wakes()

    def move(self, int32_t partition, int64_t offset):
        """While FALLEN: want this offset next (what lies between has been told of otherwise)."""
        if self.cursor.state != S_FALLEN:
            raise ValueError("only who has fallen is moved")
        self._set_floor(self.positions | {partition: offset})

    def conflate(self, bint rests):
        """From here on deliver in rounds: of the records since the last, the newest of each key, and all without one.

        A round is whenever the connection can take one. rests: after each it is RESTING, which its owner is told, until `round`.
        """
        self.cursor.conflated = True
        self.cursor.rests = rests
        self.cursor.rested = self.cursor.delivered

    def round(self):
        """From RESTING: deliver what has come since the last round, or, if nothing has, what comes next. Take the tail's woken
        afterwards."""
        if self.cursor.state == S_RESTING:
            self._join(self.cursor.seq)
            self.tail._collect_wakes()

    def waits(self, size_t limit):
        """Whether more than `limit` bytes of its own frames wait for it; always when they are not in the tail.

        Of many records that are not its own it may take several calls to tell.
        """
        if self.cursor.state not in (S_LIVE, S_BEHIND, S_ARRIVED, S_RESTING):
            return True
        return waiting(&self.cursor, place(&self.cursor)) > limit

    def jump(self):
        """From BEHIND or FALLEN to the end of the tail, leaving out what lies between: where it was."""
        cdef dict before = self.positions
        if self.cursor.state != S_BEHIND and self.cursor.state != S_FALLEN:
            raise ValueError("only who is behind jumps")
        if before:
            self._set_floor(before)  # it may be ahead of the tail, or in a partition that the tail has not got
        self.stretch = None
        self._join(self.tail.tail.end)
        self.tail._collect_wakes()
        return before

    def pass_goals(self):
        """While FALLEN: pass the goals that its place is at or behind: True when none is left."""
        if self.cursor.goals_left and self.cursor.state == S_FALLEN:
            goal_check(&self.cursor, self.cursor.floor, self.cursor.floors)
        return self.cursor.goals_left == 0

    cdef void _init_cursor(self, int64_t begin) noexcept:
        cdef Cursor* cursor = &self.cursor
        cursor.wire = &self.line.wire
        cursor.tail = &self.tail.tail
        cursor.state = S_LIVE
        cursor.told = False
        cursor.seq = begin
        cursor.floors = 0
        cursor.goals = cursor.goals_left = 0
        cursor.conflated = cursor.rests = False
        cursor.rested = 0
        cursor.stretch = NULL
        cursor.upto = 0
        cursor.keys_count = 0
        cursor.delivered = 0
        cursor.owner = <void*>self
        if self.tail.tail.format == F_MSGPACK:
            cursor.slot[0], cursor.slot[1] = <char>(self.id >> 8), <char>(self.id & 0xff)
            cursor.slot[2] = cursor.slot[3] = cursor.slot[4] = 0
        else:
            text = b"%5d" % self.id
            memcpy(cursor.slot, PyBytes_AS_STRING(text), 5)

    cdef void _set_keys(self) except *:
        cdef list hashes
        if self.keys is None:
            return
        hashes = sorted(key_hash(key) for key in self.keys)
        self.cursor.keys = <uint64_t*>malloc(8 * len(hashes))
        if self.cursor.keys == NULL:
            raise MemoryError
        for self.cursor.keys_count in range(len(hashes)):
            self.cursor.keys[self.cursor.keys_count] = hashes[self.cursor.keys_count]
        self.cursor.keys_count = len(hashes)

    cdef void _set_floor(self, dict floor) except *:
        cdef int32_t width = max(floor) + 1, p
        cdef int64_t* offsets = <int64_t*>malloc(8 * width)
        if offsets == NULL:
            raise MemoryError
        for p in range(width):
            offsets[p] = floor.get(p, 0)
        free(self.cursor.floor)
        self.cursor.floor = offsets
        self.cursor.floors = width

    cdef void _set_goal(self, dict goal) except *:
        cdef int32_t width = max(goal) + 1, p
        self.cursor.goal = <int64_t*>malloc(8 * width)
        if self.cursor.goal == NULL:
            raise MemoryError
        for p in range(width):
            self.cursor.goal[p] = goal.get(p, 0)
            self.cursor.goals_left += self.cursor.goal[p] > 0
        self.cursor.goals = width

    cdef void _settle(self, int64_t seq) except *:
        """Keep the place as a vector, since the tail will not know it any more."""
        cdef dict positions = self._positions_at(seq)
        if positions:
            self._set_floor(positions)

    cdef dict _positions_at(self, int64_t seq):
        cdef Tail_* tail = &self.tail.tail
        cdef int64_t* vector = <int64_t*>malloc(8 * (tail.width if tail.width else 1))
        cdef int32_t p
        if vector == NULL:
            raise MemoryError
        try:
            vector_at(tail, seq, vector)
            return {
                p: max(vector[p] if p < tail.width else 0, self.cursor.floor[p] if p < self.cursor.floors else 0)
                for p in range(max(tail.width, self.cursor.floors))
            }
        finally:
            free(vector)

    @property
    def positions(self):
        """The next offset of every partition: everything before was committed to the connection, or is not wanted.

        Partitions that the tail has not got yet are among them when the floor names them.
        """
        cdef int32_t p
        if self.cursor.state in (S_FALLEN, S_CLOSED, S_READING) or self.cursor.stretch != NULL:
            return {
                p: self.cursor.floor[p] if p < self.cursor.floors else self.tail.tail.base[p]
                for p in range(max(self.tail.tail.width, self.cursor.floors))
            }
        return self._positions_at(place(&self.cursor))

    @property
    def state(self):
        """Where it stands.

        RESTING (until its next round), LIVE, BEHIND (in the tail, not at its end), FALLEN (what it wants next is not in the tail), READING (a stretch), HOLED (what it
        wants next cannot be shown), ARRIVED (at its goal), CLOSED.
        """
        return self.cursor.state

    @property
    def delivered(self):
        """Records committed to the connection."""
        return self.cursor.delivered

    def close(self):
        """Leave the tail: no record of it is sent any more. The last positions. Closing twice is allowed."""
        cdef dict last = self.positions
        if self.cursor.state == S_CLOSED:
            return last
        link_remove(&self.cursor.in_tail)
        link_remove(&self.cursor.in_wire)
        link_remove(&self.cursor.in_line)
        link_remove(&self.cursor.in_stretch)
        if last:
            self._set_floor(last)
        become(&self.cursor, S_CLOSED)
        self.stretch = None
        self.tail._detach(self, self.keys)
        return last

    def __dealloc__(self):
        link_free(&self.cursor.in_tail)
        link_free(&self.cursor.in_wire)
        link_free(&self.cursor.in_line)
        link_free(&self.cursor.in_stretch)
        free(self.cursor.goal)
        free(self.cursor.keys)
        free(self.cursor.floor)
