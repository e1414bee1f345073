/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Small programs beside the balancer, for endpoints, tests and benches:
 *
 *   pass    lets everything through. A veth whose other end sends by XDP needs some program.
 *   unwrap  takes the outer header off IPIP packets: for endpoints whose kernel has no tunnel.
 *   sink    drops everything.
 *   tag     puts outgoing frames on VLAN 100 (tcx egress), tag2 on 200 in 100;
 *   untag   takes incoming frames' tags off (tcx ingress): VLAN devices for kernels that have none.
 */
#include "link.h"

SECTION("xdp.frags")
int pass(struct xdp_md *ctx) {
    (void)ctx;
    return XDP_PASS;
}

SECTION("xdp.frags")
int sink(struct xdp_md *ctx) {
    (void)ctx;
    return XDP_DROP;
}

SECTION("xdp.frags")
int unwrap(struct xdp_md *ctx) {
    be16 type = 0;
    u32 l3 = parse_link(ctx, &type);
    if (!l3 || l3 > 22) return XDP_PASS;
    void *ip = data_of(ctx) + l3;
    if (type == htons(ETHERTYPE_IPV4)) {
        struct ipv4 *outer = ip;
        if ((void *)(outer + 1) > end_of(ctx)) return XDP_PASS;
        if (outer->version_ihl != 0x45 || outer->proto != PROTO_IPV4) return XDP_PASS;
        return make_room(ctx, l3, -(int)sizeof(*outer), type) ? XDP_PASS : XDP_DROP;
    }
    if (type == htons(ETHERTYPE_IPV6)) {
        struct ipv6 *outer = ip;
        if ((void *)(outer + 1) > end_of(ctx) || outer->next != PROTO_IPV6) return XDP_PASS;
        return make_room(ctx, l3, -(int)sizeof(*outer), type) ? XDP_PASS : XDP_DROP;
    }
    return XDP_PASS;
}

struct skb;
static long (*const vlan_push)(struct skb *skb, be16 type, u16 tag) = (void *)18;
static long (*const vlan_pop)(struct skb *skb) = (void *)19;
enum { TC_OK = 0, TC_DROP = 2 };

SECTION("classifier")
int tag(struct skb *skb) { return vlan_push(skb, htons(ETHERTYPE_VLAN), 100) ? TC_DROP : TC_OK; }

SECTION("classifier")
int tag2(struct skb *skb) {
    if (vlan_push(skb, htons(ETHERTYPE_VLAN), 200)) return TC_DROP;
    return vlan_push(skb, htons(ETHERTYPE_QINQ), 100) ? TC_DROP : TC_OK;
}

SECTION("classifier")
int untag(struct skb *skb) {
    vlan_pop(skb);
    vlan_pop(skb);
    return TC_OK;
}

const char license_terms[] SECTION("license") = "Dual MIT/GPL";
