/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the balancer is timed with. A run repeated on one packet would see the first one's result:
 * `vary` writes the packet anew, with the next flow's port and address, and calls the program under
 * test as the kernel would. `nop` instead of that program is what the wrapper itself costs.
 */
#include "link.h"

#define PATTERN_MAX 64

struct bench {
    /* Flows to go through, a power of two; the flow of this run. */
    u32 flows;
    u32 next;
    /* Bytes of the pattern: the packet as it is to be before each run. */
    u32 length;
    u32 zero;
    u8 pattern[PATTERN_MAX];
};
MAP(bench_plan, MAP_ARRAY, u32, struct bench, 1);
MAP(under_test, MAP_PROG_ARRAY, u32, u32, 1);

SECTION("xdp.frags")
int nop(struct xdp_md *ctx) {
    (void)ctx;
    return XDP_PASS;
}

/* For frames that are really sent. */
SECTION("xdp.frags")
int transmit(struct xdp_md *ctx) {
    (void)ctx;
    return XDP_TX;
}

SECTION("xdp.frags")
int vary(struct xdp_md *ctx) {
    u32 zero = 0;
    struct bench *bench = map_lookup(&bench_plan, &zero);
    if (!bench) return XDP_ABORTED;
    u32 flow = bench->next++ & (bench->flows - 1);
    /* An outer header that the last run put on comes off. */
    u32 length = (u32)xdp_buff_len(ctx);
    if (length != bench->length && adjust_head(ctx, (int)length - (int)bench->length)) return XDP_ABORTED;
    u64 *to = data_of(ctx);
    if ((void *)to + PATTERN_MAX > end_of(ctx)) return XDP_ABORTED;
    const u64 *from = (const u64 *)bench->pattern;
#pragma unroll
    for (int at = 0; at < PATTERN_MAX / 8; at++) to[at] = from[at];
    /* IPv4 without options behind an untagged link header: source address and port make the flow. */
    struct ipv4 *ip = (void *)to + sizeof(struct eth);
    struct udp *ports = (void *)(ip + 1);
    ip->src = htonl(0x0a400000 + (flow >> 14));
    ports->sport = htons(1024 + (flow & 0x3fff));
    tail_call(ctx, &under_test, 0);
    return XDP_ABORTED;
}

const char license_terms[] SECTION("license") = "Dual MIT/GPL";
