#!/bin/sh
# What of a send() on loopback is the sender's: `sh benchmarks/limit/halves.sh`, as root, 10 seconds.
#
# On loopback the sender's system call runs the receiver's TCP, too. In a network namespace of its own the receiving half is
# given to the second core (RPS), as a network card's interrupts would be, and sendloop counts what is left. Needs
# build/limit/sendloop, which `make check-bench` compiles.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck disable=SC2016  # expanded by the inner shell
exec unshare --net --mount sh -euc '
mount -t sysfs none /sys
ip link set lo up
for round in 1 2 3; do
    for cores in 0 2; do
        echo $cores > /sys/class/net/lo/queues/rx-0/rps_cpus
        [ $cores = 0 ] && where="same core" || where="second core"
        for frames in 1 10; do
            printf "receiver on the %s, %s a send: " "$where" $frames
            taskset 1 build/limit/sendloop 1000 204 $frames 0.7 | sed "s/.*per_cpu_second\":\([0-9]*\).*/\1 a CPU second/"
        done
    done
done'
