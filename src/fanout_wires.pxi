# Part of src/_fanout.pyx: what leaves for one connection: send(), and the bytes that the kernel has not taken.

# -------------------------------------------------------------------------------------------------------------------------- wires

cdef inline size_t rest_size(Wire* wire) noexcept nogil:
    return wire.rest_end - wire.rest_at


cdef bint rest_add(Wire* wire, const char* data, size_t size) noexcept nogil:
    """Commit bytes that the kernel has not taken. A frame's remainder or whole frames, so the end is a frame boundary."""
    if wire.rest_at == wire.rest_end:
        wire.rest_at = wire.rest_end = 0
    elif wire.rest_at:
        memmove(wire.rest, wire.rest + wire.rest_at, rest_size(wire))
        wire.rest_end -= wire.rest_at
        wire.rest_at = 0
    if not grow(<void**>&wire.rest, &wire.rest_room, wire.rest_end + size, 1):
        wire.error = ENOMEM
        return False
    memcpy(wire.rest + wire.rest_end, data, size)
    wire.rest_end += size
    return True


cdef ssize_t send_once(int fd, const char* data, size_t size) noexcept nogil:
    """What the kernel took at once: bytes, or an errno below zero."""
    cdef ssize_t took
    while True:
        took = c_send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if took >= 0:
            return took
        if errno != EINTR:
            return -errno


cdef size_t wire_took(Wire* wire, ssize_t took, size_t size) noexcept nogil:
    """Of `size` bytes the kernel took so many (or an errno below zero). Less than all leaves `refused` or `error` set."""
    global all_sent_bytes
    if took >= 0:
        wire.sent_bytes += took
        all_sent_bytes += took
        if <size_t>took < size:
            wire.refused = True
        return took
    if took == -EAGAIN or took == -ENOBUFS:
        wire.refused = True
    else:
        wire.error = -took
    return 0


cdef size_t wire_send(Wire* wire, const char* data, size_t size) noexcept nogil:
    """Offer bytes to the kernel: how many it took."""
    return wire_took(wire, send_once(wire.fd, data, size), size)


cdef size_t wire_offer(Wire* wire, const char* data, size_t size) noexcept nogil:
    """As wire_send; a line that is not direct takes a private copy instead, until TURN bytes wait."""
    if wire.direct:
        return wire_send(wire, data, size)
    if rest_size(wire) >= TURN:
        wire.refused = True
        return 0
    return size if rest_add(wire, data, size) else 0


cdef bint rest_send(Wire* wire) noexcept nogil:
    """Send what waits; True when nothing is left of it."""
    cdef size_t size = rest_size(wire)
    wire.refused = False
    if size:
        if not wire.direct:
            wire.refused = size >= TURN
            return not wire.refused
        wire.rest_at += wire_send(wire, wire.rest + wire.rest_at, size)
        if wire.rest_at < wire.rest_end:
            return False
        free(wire.rest)  # a healthy connection holds no buffer
        wire.rest = NULL
        wire.rest_at = wire.rest_end = wire.rest_room = 0
    return True


cdef void wake(Tail_* tail, Wire* wire) noexcept nogil:
    """Ask for the writer task of this connection, once."""
    if wire.woken:
        return
    if grow(<void**>&tail.wakes, &tail.wakes_room, tail.wakes_count + 1, sizeof(void*)):
        tail.wakes[tail.wakes_count] = wire
        tail.wakes_count += 1
        wire.woken = True
    else:
        wire.error = ENOMEM
