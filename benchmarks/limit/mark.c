/* Marks for callgrind, called from Python: what runs between mark_begin() and mark_end(name) is counted, and written to a
 * dump of its own. Outside valgrind both do nothing.
 */
#include <valgrind/callgrind.h>

void mark_begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void mark_end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
