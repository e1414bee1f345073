/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The balancer's maps. Sizes are defaults; the loader sets those that the configuration decides.
 */
#pragma once
#include "layout.h"

/* Default sizes. */
#define VIPS_MAX 512
#define RINGS_MAX 128
#define REALS_MAX 1024
#define FLOWS_MAX 1000000
#define SHARDS_MAX 1024

MAP(settings, MAP_ARRAY, u32, struct settings, 1);
MAP(vips4, MAP_HASH, struct vip_key4, struct vip, VIPS_MAX);
MAP(vips6, MAP_HASH, struct vip_key6, struct vip, VIPS_MAX);
/* Addresses of forwarded VIPs: whose fragments have nowhere to go. */
MAP(fronts4, MAP_HASH, be32, u32, VIPS_MAX);
MAP(fronts6, MAP_HASH, struct addr, u32, VIPS_MAX);
MAP(rings, MAP_ARRAY, u32, struct ring, RINGS_MAX);
MAP(reals, MAP_ARRAY, u32, struct real, REALS_MAX);
MAP(flows4, MAP_LRU_HASH, struct tuple4, struct flow, FLOWS_MAX);
MAP(flows6, MAP_LRU_HASH, struct tuple6, struct flow, FLOWS_MAX);
MAP(nat4, MAP_LRU_HASH, struct back_key4, struct back, FLOWS_MAX);
MAP(nat6, MAP_LRU_HASH, struct back_key6, struct back, FLOWS_MAX);
MAP(counts, MAP_PERCPU_ARRAY, u32, struct counts, 1);
MAP(vip_stats, MAP_PERCPU_ARRAY, u32, struct stats, VIPS_MAX);
MAP(real_stats, MAP_PERCPU_ARRAY, u32, struct stats, REALS_MAX);
MAP(syn_rates, MAP_ARRAY, u32, struct rate, VIPS_MAX);

MAP(scratch_room, MAP_PERCPU_ARRAY, u32, struct scratch, 1);

/* Shards' CPUs, and the queues to them, by number. */
MAP(shard_cpus, MAP_ARRAY, u32, u32, SHARDS_MAX);
MAP(cpus, MAP_CPUMAP, u32, struct cpu_value, 1);
