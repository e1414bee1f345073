/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * ringway's XDP program: what a packet is, whose it is, what happens to it.
 *
 *   frame ─▶ link, tags ─▶ IP ─┬─ ICMP error ─▶ the flow that it quotes
 *                              ├─ fragment of a forwarded VIP ─▶ dropped
 *                              ├─ to a VIP ─▶ its action: LOCAL │ DSR │ IPIP │ NAT
 *                              ├─ to our own address ─▶ NAT's way back
 *                              └─ everything else ─▶ the stack, untouched
 *
 * Never drops what isn't addressed to a VIP. Every packet leaves by exactly one counted exit.
 */
#include "icmp.h"
#include "local.h"
#include "maps.h"
#include "nat.h"
#include "parse.h"
#include "pick.h"
#include "send.h"

INLINE int handle_fragment(struct run *run, const struct packet *p, const int is_v6) {
    const struct addr *dst = (const void *)p->t.dst;
    u32 *front = is_v6 ? map_lookup(&fronts6, dst) : map_lookup(&fronts4, dst);
    if (front) return leave(run, EXIT_FRAGMENT, XDP_DROP);
    return leave(run, EXIT_NOT_VIP, XDP_PASS);
}

INLINE void count_vip(u32 index, u32 bytes, u32 flows) {
    struct stats *stats = map_lookup(&vip_stats, &index);
    if (!stats) return;
    stats->packets++;
    stats->bytes += bytes;
    stats->flows += flows;
}

INLINE int forward(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, const int is_v6) {
    struct choice choice = pick(run, vip, p, is_v6);
    if (UNLIKELY(!choice.real)) return leave(run, EXIT_NO_REAL, XDP_DROP);
    count_real(choice.id, p->length, choice.is_new);
    return send_whole(ctx, run, vip, p, choice.real, vip->action == ACTION_DSR ? EXIT_DSR : EXIT_IPIP, is_v6);
}

/* No verdict: ICMP is handled in a frame of its own, or the two would need more stack than there is. */
#define IS_ICMP -1

INLINE int handle(struct xdp_md *ctx, struct run *run, u32 l3, const int is_v6) {
    struct packet p = {};
    int parsed = parse(ctx, l3, &p, is_v6);
    if (UNLIKELY(parsed != PARSED)) {
        if (parsed == PARSED_ICMP) return IS_ICMP;
        if (parsed == PARSED_FRAGMENT) return handle_fragment(run, &p, is_v6);
        return leave(run, parsed == PARSED_OTHER ? EXIT_OTHER_PROTOCOL : EXIT_MALFORMED, XDP_PASS);
    }
    struct vip *vip = find_vip(p.t.dst, p.t.dport, p.t.proto, is_v6);
    if (!vip) {
        if (is_own(run->set, p.t.dst, is_v6)) return nat_in(ctx, run, &p, is_v6);
        return leave(run, EXIT_NOT_VIP, XDP_PASS);
    }
    count_vip(vip->index, p.length, is_first_syn(&p));
    if (vip->action == ACTION_LOCAL) return handle_local(ctx, run, vip, &p, is_v6);
    if (UNLIKELY(is_first_syn(&p)) && is_over_rate(run, vip)) return leave(run, EXIT_SYN_RATE, XDP_DROP);
    if (vip->action == ACTION_NAT) return nat_out(ctx, run, vip, &p, is_v6);
    return forward(ctx, run, vip, &p, is_v6);
}

/* Functions of their own: each family's stack is one frame, not a part of a large one. */
APART int handle4(struct xdp_md *ctx, struct run *run, u32 l3) { return handle(ctx, run, l3, 0); }
APART int handle6(struct xdp_md *ctx, struct run *run, u32 l3) { return handle(ctx, run, l3, 1); }

SECTION("xdp.frags")
int balance(struct xdp_md *ctx) {
    u32 zero = 0;
    struct run run = {map_lookup(&settings, &zero), map_lookup(&counts, &zero), 0};
    if (!run.set || !run.counts) return XDP_PASS;
    run.now = ktime_coarse_ns() + run.set->clock_add;
    be16 type = 0;
    u32 l3 = parse_link(ctx, &type);
    if (!l3) return leave(&run, EXIT_NOT_IP, XDP_PASS);
    if (type == htons(ETHERTYPE_IPV4)) {
        int verdict = handle4(ctx, &run, l3);
        return LIKELY(verdict != IS_ICMP) ? verdict : icmp4(ctx, &run, l3);
    }
    if (type == htons(ETHERTYPE_IPV6)) {
        int verdict = handle6(ctx, &run, l3);
        return LIKELY(verdict != IS_ICMP) ? verdict : icmp6(ctx, &run, l3);
    }
    return leave(&run, EXIT_NOT_IP, XDP_PASS);
}

/* The syncookie helpers are for GPL-compatible programs only. */
const char license_terms[] SECTION("license") = "Dual MIT/GPL";
