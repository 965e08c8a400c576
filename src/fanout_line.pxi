# Part of src/_fanout.pyx: a Line, and the group of subscribers that want the same records.

cdef class Line:
    """The outgoing side of one connection: the descriptor, and committed bytes that the kernel has not taken yet.

    fd: a non-blocking stream socket, owned by the caller. direct=False for TLS: nothing is sent from here, `take` gives the bytes.
    owner: any object; `Tail.take_woken` returns it when the connection's writer is needed.
    """

    cdef Wire wire
    cdef public object owner
    cdef object __weakref__

    def __cinit__(self, int fd, bint direct=True, owner=None):
        self.wire.fd = fd
        self.wire.direct = direct
        self.wire.woken = self.wire.refused = self.wire.offered = False
        self.wire.error = self.wire.dropped = 0
        self.wire.rest = NULL
        self.wire.rest_at = self.wire.rest_end = self.wire.rest_room = 0
        self.wire.sent_bytes = 0
        self.wire.owner = <void*>self
        link_init(&self.wire.behind, NULL)
        link_init(&self.wire.cursors, NULL)
        self.owner = owner

    def __dealloc__(self):
        link_free(&self.wire.behind)
        link_free(&self.wire.cursors)
        free(self.wire.rest)

    def post(self, bytes frames not None):
        """Send whole frames in line with the records, at the next frame boundary.

        True when the caller must start the connection's writer (bytes are left and no writer is there).
        """
        cdef Wire* wire = &self.wire
        cdef size_t size = PyBytes_GET_SIZE(frames), took = 0
        if wire.error:
            return False
        if not rest_size(wire) and wire.direct:
            took = wire_send(wire, PyBytes_AS_STRING(frames), size)
            if took == size:
                return False
        if not wire.error:
            rest_add(wire, PyBytes_AS_STRING(frames) + took, size - took)
        if wire.woken:
            return False
        wire.woken = True
        return True

    def flush(self, int64_t budget):
        """The writer's step: DONE (the writer ends), MORE (go on after a checkpoint), BLOCKED (wait until writable), BROKEN."""
        cdef int found
        with nogil:
            found = wire_flush(&self.wire, budget)
        return found

    def take(self):
        """A copy of the bytes that wait, which are then the caller's to send (a line that is not direct)."""
        cdef bytes taken = PyBytes_FromStringAndSize(self.wire.rest + self.wire.rest_at, rest_size(&self.wire))
        free(self.wire.rest)
        self.wire.rest = NULL
        self.wire.rest_at = self.wire.rest_end = self.wire.rest_room = 0
        self.wire.refused = False
        self.wire.sent_bytes += len(taken)
        global all_sent_bytes
        all_sent_bytes += <size_t>len(taken)
        return taken

    def take_dropped(self):
        """Its subscriptions that cannot go on by themselves (state FALLEN, HOLED, ARRIVED or RESTING) and were not yet told of."""
        cdef Link* link = self.wire.cursors.after
        cdef Cursor* cursor
        cdef list found = []
        if self.wire.dropped == 0:
            return found
        self.wire.dropped = 0
        while link != &self.wire.cursors:
            cursor = <Cursor*>link.item
            if not cursor.told and cursor.state in (S_FALLEN, S_HOLED, S_ARRIVED, S_RESTING):
                cursor.told = True
                (<Subscription>cursor.owner).stretch = None
                found.append(<object>cursor.owner)
            link = link.after
        return found

    def break_off(self, int error):
        """Nothing is sent any more: the connection is gone (errno). No writer is asked for from here on."""
        self.wire.error = error
        self.wire.woken = True

    @property
    def waiting_bytes(self):
        """Committed bytes that the kernel has not taken."""
        return rest_size(&self.wire)

    @property
    def in_flight_bytes(self):
        """Bytes in the kernel that the other end has not acknowledged (tcp(7), SIOCOUTQ); 0 when it is gone. Not once `fd` is closed."""
        cdef int queued = 0
        if c_ioctl(self.wire.fd, SIOCOUTQ, &queued) < 0:
            return 0
        return queued

    @property
    def idle(self):
        """Nothing waits and no subscription is behind."""
        return not rest_size(&self.wire) and not linked(&self.wire.behind)

    @property
    def error(self):
        """The errno that ended it, or 0."""
        return self.wire.error

    @property
    def sent_bytes(self):
        """Bytes the kernel has taken."""
        return self.wire.sent_bytes


cdef class _Group:
    cdef Group_ group
    cdef dict lanes        # id slot -> index in group.lanes
    cdef set left          # id slots of lanes that everybody left during a pass: the next new id has one of them; None before the first
    cdef size_t members
    cdef uint64_t key

    def __cinit__(self, int kind, uint64_t key):
        self.group.kind = kind
        self.group.lanes = NULL
        self.group.lanes_count = self.group.lanes_room = 0
        self.group.pending = NULL
        self.group.pending_count = self.group.pending_room = 0
        self.group.passing = False
        self.group.first = 0
        link_init(&self.group.due, <void*>&self.group)
        self.lanes = {}
        self.members = 0
        self.key = key

    def __dealloc__(self):
        cdef size_t i
        link_free(&self.group.due)
        for i in range(self.group.lanes_count):
            free(self.group.lanes[i].cursors)
        free(self.group.lanes)
        free(self.group.pending)

    cdef void join(self, Cursor* cursor) except *:
        cdef bytes slot = b"" if self.group.kind == G_SEVERAL else PyBytes_FromStringAndSize(cursor.slot, 5)
        cdef Lane* lane
        cdef object known = self.lanes.get(slot)
        cdef size_t at
        if known is not None:
            at = known
        else:
            if self.left:
                at = self.lanes.pop(self.left.pop())
            else:
                at = self._new_lane()
            self.lanes[slot] = at
            memcpy(self.group.lanes[at].slot, cursor.slot, 5)
        if self.left:
            self.left.discard(slot)
        lane = &self.group.lanes[at]
        if lane.gaps and not self.group.passing:
            lane_compact(lane)
        if not grow(<void**>&lane.cursors, &lane.room, lane.count + 1, sizeof(void*)):
            raise MemoryError
        lane.cursors[lane.count] = cursor
        cursor.at = lane.count
        lane.count += 1
        self.members += 1

    cdef void leave(self, Cursor* cursor) except *:
        cdef bytes slot = b"" if self.group.kind == G_SEVERAL else PyBytes_FromStringAndSize(cursor.slot, 5)
        cdef Lane* lane = &self.group.lanes[<size_t>self.lanes[slot]]
        lane.cursors[cursor.at] = NULL
        lane.gaps += 1
        self.members -= 1
        if lane.gaps == lane.count and self.group.passing:
            if self.left is None:
                self.left = set()
            self.left.add(slot)
        elif lane.gaps == lane.count:
            self._drop_lane(self.lanes.pop(slot))

    cdef size_t _new_lane(self) except? <size_t>-1:
        """Where it is; its id is for the caller to write."""
        cdef Lane* lane
        if not grow(<void**>&self.group.lanes, &self.group.lanes_room, self.group.lanes_count + 1, sizeof(Lane)):
            raise MemoryError
        lane = &self.group.lanes[self.group.lanes_count]
        lane.cursors = NULL
        lane.count = lane.room = lane.gaps = lane.start = lane.pass_count = 0
        self.group.lanes_count += 1
        return self.group.lanes_count - 1

    cdef void _drop_lane(self, size_t at) except *:
        """Of an id that nobody uses any more: a pass looks at every lane."""
        cdef size_t last = self.group.lanes_count - 1
        free(self.group.lanes[at].cursors)
        self.group.lanes_count = last
        if at != last:
            self.group.lanes[at] = self.group.lanes[last]
            self.lanes[PyBytes_FromStringAndSize(self.group.lanes[at].slot, 5)] = at
