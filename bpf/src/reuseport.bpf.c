/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Which of the sockets that share an address gets a new connection: the one of the shard whose CPU
 * received it. `shard_of` says which shard a CPU belongs to, `shards` holds a socket a shard. A shard
 * whose socket is gone leaves its row empty, and its connections go by the kernel's own hash to the
 * others, until it puts a new socket there; unlike classic BPF, nobody else's row moves meanwhile.
 */
#include "abi.h"

#define CPUS_MAX 1024
#define SHARDS_MAX 1024

struct {
    MAP_UINT(type, MAP_ARRAY);
    MAP_UINT(max_entries, CPUS_MAX);
    MAP_TYPE(key, u32);
    MAP_TYPE(value, u32);
} shard_of SECTION(".maps");

struct {
    MAP_UINT(type, MAP_REUSEPORT_SOCKARRAY);
    MAP_UINT(max_entries, SHARDS_MAX);
    MAP_TYPE(key, u32);
    MAP_TYPE(value, u32);
} shards SECTION(".maps");

SECTION("sk_reuseport")
int choose(void *ctx) {
    u32 cpu = cpu_id();
    u32 *shard = map_lookup(&shard_of, &cpu);
    if (shard) {
        u32 row = *shard;
        sk_select_reuseport(ctx, &shards, &row, 0);
    }
    /* With nothing selected the kernel's hash decides. */
    return SK_PASS;
}

const char license_terms[] SECTION("license") = "Dual MIT/GPL";
