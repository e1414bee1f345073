/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * VIPs that end on this box: above a rate, SYNs are answered here with a cookie that the kernel's
 * listener takes (one in cookie_pass goes up: the kernel believes cookies only while it sees SYNs);
 * where asked for, packets move to the CPU of the shard that owns the flow.
 *
 * A cookie carries the MSS and nothing else: no timestamps, so no window scaling and no SACK. That is
 * the price of holding no state, and why this begins only above a rate.
 */
#pragma once
#include "send.h"

/* Bytes of an answer's TCP header: 20, and the MSS option. */
#define COOKIE_TCP 24
#define TCP_LONGEST 60

struct mss_option {
    u8 kind;
    u8 length;
    be16 mss;
};

/* Counts a SYN of this VIP; whether it is above the rate. Exact over all CPUs but for races at a
 * window's end, which let a few more through. */
INLINE int is_over_rate(struct run *run, const struct vip *vip) {
    if (!vip->syn_max) return 0;
    u32 index = vip->index;
    struct rate *rate = map_lookup(&syn_rates, &index);
    if (!rate) return 0;
    u64 window = run->now >> WINDOW_SHIFT;
    u64 known = rate->window;
    if (known != window && __sync_val_compare_and_swap(&rate->window, known, window) == known) rate->count = 0;
    if (rate->count >= vip->syn_max) return 1;
    __sync_fetch_and_add(&rate->count, 1);
    return 0;
}

INLINE u64 sum_words(const void *at, u32 bytes) {
    const u16 *words = at;
    u64 sum = 0;
#pragma unroll
    for (u32 word = 0; word < bytes / 2; word++) sum += words[word];
    return sum;
}

/* The cookie for the SYN at `l3`; 0 when there is none: then the packet is the stack's. */
INLINE u64 make_cookie(struct xdp_md *ctx, const struct packet *p, const int is_v6) {
    void *end = end_of(ctx);
    u32 l4 = p->l3 + (is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4));
    if (p->l3 > 22 || p->l4 != l4) return 0;
    void *ip = data_of(ctx) + p->l3;
    struct tcp *tcp = ip + (is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4));
    if ((void *)(tcp + 1) > end) return 0;
    u32 bytes = (tcp->offset >> 4) * 4;
    if (bytes < sizeof(*tcp) || l4 + bytes > p->l3 + p->length) return 0;
    /* The verifier wants room for the longest header, whatever this one's length. */
    if ((void *)tcp + TCP_LONGEST > end) return 0;
    long long cookie = is_v6 ? syncookie_v6(ip, tcp, bytes) : syncookie_v4(ip, tcp, bytes);
    return cookie < 0 ? 0 : (u64)cookie;
}

/* Turns the SYN into its SYN-ACK. */
INLINE int write_answer(struct xdp_md *ctx, u32 l3, u64 cookie, const int is_v6) {
    void *ip = data_of(ctx) + l3;
    struct tcp *tcp = ip + (is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4));
    if ((void *)tcp + COOKIE_TCP > end_of(ctx)) return 0;
    be16 port = tcp->sport;
    tcp->sport = tcp->dport;
    tcp->dport = port;
    tcp->ack = htonl(ntohl(tcp->seq) + 1);
    tcp->seq = htonl((u32)cookie);
    tcp->offset = COOKIE_TCP / 4 << 4;
    tcp->flags = TCP_SYN | TCP_ACK;
    tcp->window = htons(0xffff);
    tcp->urgent = 0;
    tcp->check = 0;
    struct mss_option *option = (void *)(tcp + 1);
    option->kind = 2;
    option->length = 4;
    option->mss = htons((u16)(cookie >> 32));
    u64 sum = sum_words(tcp, COOKIE_TCP) + htons(PROTO_TCP) + htons(COOKIE_TCP);
    if (is_v6) {
        struct ipv6 *v6 = ip;
        be32 src[4];
        put_address6(src, v6->src);
        put_address6(v6->src, v6->dst);
        put_address6(v6->dst, src);
        v6->payload = htons(COOKIE_TCP);
        v6->hops = 64;
        sum += sum_words(v6->src, 32);
    } else {
        struct ipv4 *v4 = ip;
        be32 src = v4->src;
        v4->src = v4->dst;
        v4->dst = src;
        v4->length = htons(sizeof(*v4) + COOKIE_TCP);
        v4->ttl = 64;
        v4->id = 0;
        v4->fragment = htons(0x4000);
        v4->check = 0;
        v4->check = sum_of_ipv4(v4);
        sum += sum_words(&v4->src, 8);
    }
    tcp->check = (u16)~fold(sum);
    return turn_round(ctx);
}

APART int answer_syn(struct xdp_md *ctx, struct run *run, struct packet *p, int is_v6) {
    u32 pass = run->set->cookie_pass;
    if (pass && prandom() % pass == 0) return leave(run, EXIT_LOCAL, XDP_PASS);
    u32 length = (u32)xdp_buff_len(ctx);
    u32 needed = p->l4 + TCP_LONGEST;
    if (length < needed) {
        if (adjust_tail(ctx, (int)needed - (int)length)) return leave(run, EXIT_LOCAL, XDP_PASS);
        length = needed;
    }
    u64 cookie = is_v6 ? make_cookie(ctx, p, 1) : make_cookie(ctx, p, 0);
    if (!cookie) return leave(run, EXIT_LOCAL, XDP_PASS);
    u32 wanted = p->l3 + (is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4)) + COOKIE_TCP;
    if (length != wanted && adjust_tail(ctx, (int)wanted - (int)length)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    u32 l3 = p->l3;
    if (l3 > 22) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    if (!(is_v6 ? write_answer(ctx, l3, cookie, 1) : write_answer(ctx, l3, cookie, 0)))
        return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_COOKIE, XDP_TX);
}

INLINE int handle_local(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, const int is_v6) {
    if (is_first_syn(p) && is_over_rate(run, vip)) {
        if (vip->flags & VIP_COOKIES) return answer_syn(ctx, run, p, is_v6);
        return leave(run, EXIT_SYN_RATE, XDP_DROP);
    }
    u32 count = run->set->steer_cpus;
    if (!count) return leave(run, EXIT_LOCAL, XDP_PASS);
    u32 row = (u32)((u64)hash_of(&p->t, 0, is_v6) * count >> 32);
    u32 *cpu = map_lookup(&shard_cpus, &row);
    if (!cpu || *cpu == cpu_id()) return leave(run, EXIT_LOCAL, XDP_PASS);
    long verdict = redirect_map(&cpus, *cpu, XDP_PASS);
    return leave(run, verdict == XDP_REDIRECT ? EXIT_STEERED : EXIT_LOCAL, (int)verdict);
}
