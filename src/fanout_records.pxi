# Part of src/_fanout.pyx: a record as Kafka's client hands it over, written as a frame without a Python object for its payload.
#
# Only the usual record: an envelope of a JSON value (or a tombstone) without headers, whose key needs no escape; a bare value of
# any kind. What it becomes is core/encode.py's to say, byte by byte: that is the general path, and the oracle of this one.

cdef struct Envelope:        # borrowed from the objects of one record
    const char* head         # up to and with `"offset":`
    size_t head_size
    int64_t offset
    int64_t time             # -1: none
    const char* key          # NULL: none
    size_t key_size
    const char* value        # NULL: a tombstone
    size_t value_size


cdef inline bint is_utf8(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """RFC 3629. Behind `end` stands a NUL, which ends a character that is cut off."""
    cdef uint64_t eight
    while at < end:
        if end - at >= 8:
            memcpy(&eight, at, 8)
            if not eight & 0x8080808080808080ULL:
                at += 8
                continue
        if at[0] < 0x80:
            at += 1
            continue
        at = beyond_ascii(at)
        if at == NULL:
            return False
    return True


cdef inline bint needs_no_escape(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether it is a JSON string when quotes are put around it."""
    while at != NULL and at < end:
        if PLAIN[at[0]]:
            at += 1
        elif at[0] >= 0x80:
            at = beyond_ascii(at)
        else:
            return False
    return at != NULL


cdef inline size_t decimal_size(int64_t number) noexcept nogil:
    """Of a number that is not negative."""
    cdef size_t size = 1
    while number >= 10:
        number //= 10
        size += 1
    return size


cdef inline char* put_decimal(char* at, int64_t number) noexcept nogil:
    cdef char* end = at + decimal_size(number)
    cdef char* digit = end
    while True:
        digit -= 1
        digit[0] = <char>(c"0" + number % 10)
        number //= 10
        if digit == at:
            return end


cdef inline char* put(char* at, const char* text, size_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef size_t envelope_size(Envelope* it) noexcept nogil:
    cdef size_t size = it.head_size + decimal_size(it.offset) + 13 + 7 + 9 + 1  # the four names and the bracket below
    size += decimal_size(it.time) if it.time >= 0 else 4
    size += it.key_size + 2 if it.key != NULL else 4
    return size + (it.value_size if it.value != NULL else 4 + 17)


cdef void put_envelope(char* at, Envelope* it) noexcept nogil:
    """Its payload, into envelope_size bytes."""
    at = put_decimal(put(at, it.head, it.head_size), it.offset)
    at = put(at, b',"timestamp":', 13)
    at = put_decimal(at, it.time) if it.time >= 0 else put(at, b"null", 4)
    at = put(at, b',"key":', 7)
    if it.key != NULL:
        at[0] = c'"'
        at = put(at + 1, it.key, it.key_size)
        at = put(at, b'"', 1)
    else:
        at = put(at, b"null", 4)
    at = put(at, b',"value":', 9)
    if it.value != NULL:
        put(put(at, it.value, it.value_size), b"}", 1)
    else:
        put(at, b'null,"tombstone":true}', 22)


cdef inline bint usual_key(object key, Envelope* it) noexcept:
    if key is None:
        it.key = NULL
        it.key_size = 0
        return True
    if type(key) is not bytes:
        return False
    it.key = PyBytes_AS_STRING(key)
    it.key_size = PyBytes_GET_SIZE(key)
    return needs_no_escape(<const uint8_t*>it.key, <const uint8_t*>it.key + it.key_size)


cdef inline bint usual_value(object value, Envelope* it) noexcept:
    if value is None:
        it.value = NULL
        it.value_size = 0
        return True
    if type(value) is not bytes:
        return False
    it.value = PyBytes_AS_STRING(value)
    it.value_size = PyBytes_GET_SIZE(value)
    return valid(<const uint8_t*>it.value, <const uint8_t*>it.value + it.value_size)


cdef inline bint bare_value(object value, const char** data, size_t* size, int* opcode) noexcept:
    """A value as Encoder.value has it, and the frame for it."""
    data[0], size[0], opcode[0] = b"", 0, BINARY_OPCODE
    if value is None:
        return True
    if type(value) is not bytes:
        return False
    data[0], size[0] = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    if is_utf8(<const uint8_t*>data[0], <const uint8_t*>data[0] + size[0]):
        opcode[0] = TEXT_OPCODE
    return True


cdef inline bint usual_time(object record, Envelope* it) except -1:
    cdef object time = record.timestamp()
    it.time = time[1] if time[0] else -1
    return it.time >= -1


cdef bint has_headers(object record, object mend) except -1:
    """A fault of the client library's (encode.py) must be mended by whoever asks first."""
    try:
        return record.headers() is not None
    except SystemError:
        mend(record)
        return True


def first_event(list messages not None):
    """Where the first error event among them is; how many they are when there is none."""
    cdef Py_ssize_t at
    for at in range(PyList_GET_SIZE(messages)):
        if (<object>PyList_GET_ITEM(messages, at)).error() is not None:
            return at
    return PyList_GET_SIZE(messages)


def sole_topic(list messages not None):
    """The topic that all of these are records of; None when they are of several, or an error event is among them, or there are none."""
    cdef object topic = None, message, its
    for message in messages:
        if message.error() is not None:
            return None
        its = message.topic()
        if topic is None:
            topic = its
        elif its is not topic and its != topic:
            return None
    return topic
