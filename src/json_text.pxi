# The rule of src/_json.pyx, in a file of its own since src/_fanout.pyx includes it too: a call between two extension modules
# costs as much as looking at a short value.

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, strncmp

cdef enum:
    DEPTH = 512             # docs/protocol.md, "record"; Jackson 2.19 stops at 1,000
    DIGITS = 1000           # Jackson 2.19, StreamReadConstraints.maxNumberLength; Python's int() stops at 4,300
    FINITE_DIGITS = 308     # so many nines still fit a double
    SCALE_END = 100000      # of an exponent: further than DIGITS zeros could bring it back
    NOT_HEX = 0x10000

# The least number that rounds to infinity lies halfway between the largest double and 2**1024 (ties go to even).
cdef bytes _infinity = b"%d" % (2**1024 - 2**970)
cdef const uint8_t* INFINITE = <const uint8_t*>PyBytes_AS_STRING(_infinity)
cdef int INFINITE_SCALE = len(_infinity)

cdef uint8_t[256] PLAIN  # what a string may hold that needs no second look
cdef int _byte
for _byte in range(256):
    PLAIN[_byte] = 0x20 <= _byte < 0x80 and _byte not in b'"\\'


# ------------------------------------------------------------------------------------------------------------------------ strings

cdef inline uint32_t hex4(const uint8_t* at) noexcept nogil:
    """Four hexadecimal digits, or NOT_HEX."""
    cdef uint32_t unit = 0
    cdef uint8_t byte
    cdef int k
    for k in range(4):
        byte = at[k]
        if c"0" <= byte <= c"9":
            unit = unit * 16 + byte - c"0"
        elif c"a" <= byte | 0x20 <= c"f":
            unit = unit * 16 + (byte | 0x20) - c"a" + 10
        else:
            return NOT_HEX
    return unit


cdef const uint8_t* escape(const uint8_t* at) noexcept nogil:
    """What follows a backslash (RFC 8259, 7): a surrogate brings its other half."""
    cdef uint32_t unit
    if at[0] != c"u":
        return at + 1 if memchr(b'"\\/bfnrt', at[0], 8) != NULL else NULL
    unit = hex4(at + 1)
    if unit == NOT_HEX:
        return NULL
    if unit & 0xf800 != 0xd800:
        return at + 5
    if unit >= 0xdc00 or at[5] != c"\\" or at[6] != c"u" or hex4(at + 7) & 0x1fc00 != 0xdc00:
        return NULL
    return at + 11


cdef inline bint goes_on(uint8_t byte) noexcept nogil:
    return byte & 0xc0 == 0x80


cdef inline const uint8_t* beyond_ascii(const uint8_t* at) noexcept nogil:
    """A character of two to four bytes, by the table of RFC 3629, 4: no overlong form, no surrogate, none above U+10FFFF."""
    cdef uint8_t lead = at[0], second = at[1]
    if not 0xc2 <= lead <= 0xf4 or not goes_on(second):
        return NULL
    if lead < 0xe0:
        return at + 2
    if not goes_on(at[2]):
        return NULL
    if lead < 0xf0:
        if lead == 0xe0 and second < 0xa0 or lead == 0xed and second > 0x9f:
            return NULL
        return at + 3
    if not goes_on(at[3]) or lead == 0xf0 and second < 0x90 or lead == 0xf4 and second > 0x8f:
        return NULL
    return at + 4


cdef inline const uint8_t* string(const uint8_t* at) noexcept nogil:
    """A string, from behind its opening quote to behind its closing one."""
    while at != NULL:
        while PLAIN[at[0]]:
            at += 1
        if at[0] == c'"':
            return at + 1
        if at[0] == c"\\":
            at = escape(at + 1)
        elif at[0] >= 0x80:
            at = beyond_ascii(at)
        else:
            return NULL
    return NULL


# ------------------------------------------------------------------------------------------------------------------------ numbers

cdef bint infinite(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether a number without its sign rounds to infinity. Exact, and the same in every locale, which strtod() is not."""
    cdef const uint8_t* first = NULL  # its first digit that is not zero
    cdef const uint8_t* limit = INFINITE
    cdef int scale = 0, exponent = 0  # it is 0.DIGITS times 10 ** scale
    cdef bint fraction = False, negative
    while at < end and at[0] | 0x20 != c"e":
        if first == NULL and c"1" <= at[0] <= c"9":
            first = at
        if at[0] == c".":
            fraction = True
        elif first != NULL:
            scale += not fraction
        else:
            scale -= fraction
        at += 1
    if first == NULL:
        return False
    if at < end:
        negative = at[1] == c"-"
        at += 2 if negative or at[1] == c"+" else 1
        while at < end:
            exponent = min(exponent * 10 + at[0] - c"0", SCALE_END)
            at += 1
        scale += -exponent if negative else exponent
    if scale != INFINITE_SCALE:
        return scale > INFINITE_SCALE
    while limit[0]:  # the digits, one by one; a number that ends first is the smaller one
        first += first[0] == c"."
        if first[0] != limit[0]:
            return c"9" >= first[0] > limit[0]
        first += 1
        limit += 1
    return True


cdef inline const uint8_t* digits(const uint8_t* at) noexcept nogil:
    """At least one."""
    if not c"0" <= at[0] <= c"9":
        return NULL
    while c"0" <= at[0] <= c"9":
        at += 1
    return at


cdef inline const uint8_t* number(const uint8_t* at) noexcept nogil:
    """RFC 8259, 6, within the bounds that are this project's."""
    cdef const uint8_t* start
    cdef bint scaled
    at += at[0] == c"-"
    start = at
    at = at + 1 if at[0] == c"0" else digits(at)
    if at != NULL and at[0] == c".":
        at = digits(at + 1)
    if at == NULL:
        return NULL
    scaled = at[0] | 0x20 == c"e"
    if scaled:
        at = digits(at + 2 if at[1] == c"+" or at[1] == c"-" else at + 1)
    if at == NULL or at - start > DIGITS:
        return NULL
    if (scaled or at - start > FINITE_DIGITS) and infinite(start, at):
        return NULL
    return at


# ------------------------------------------------------------------------------------------------------------------------- values

cdef inline const uint8_t* blank(const uint8_t* at) noexcept nogil:
    while at[0] == c" " or at[0] == c"\n" or at[0] == c"\r" or at[0] == c"\t":
        at += 1
    return at


cdef inline const uint8_t* word(const uint8_t* at, const char* wanted, size_t size) noexcept nogil:
    return at + size if strncmp(<const char*>at, wanted, size) == 0 else NULL


cdef inline const uint8_t* scalar(const uint8_t* at) noexcept nogil:
    if at[0] == c'"':
        return string(at + 1)
    if at[0] == c"t":
        return word(at, "true", 4)
    if at[0] == c"f":
        return word(at, "false", 5)
    if at[0] == c"n":
        return word(at, "null", 4)
    return number(at)


cdef inline const uint8_t* name(const uint8_t* at) noexcept nogil:
    """A member's name and its colon."""
    at = blank(at)
    at = string(at + 1) if at[0] == c'"' else NULL
    if at == NULL:
        return NULL
    at = blank(at)
    return at + 1 if at[0] == c":" else NULL


cdef bint valid(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether one value, blanks around it, is all there is up to `end`."""
    cdef uint8_t[DEPTH] closing  # the bracket that each open array or object waits for
    cdef int depth = 0
    while at != NULL:
        at = blank(at)
        if at[0] == c"[" or at[0] == c"{":
            if depth == DEPTH:
                return False
            closing[depth] = at[0] + 2  # ASCII has them so
            depth += 1
            at = blank(at + 1)
            if at[0] != closing[depth - 1]:
                if closing[depth - 1] == c"}":
                    at = name(at)
                continue
        else:
            at = scalar(at)
            if at == NULL:
                return False
        at = blank(at)
        while depth and at[0] == closing[depth - 1]:
            depth -= 1
            at = blank(at + 1)
        if not depth:
            return at == end
        if at[0] != c",":
            return False
        at = name(at + 1) if closing[depth - 1] == c"}" else at + 1
    return False
