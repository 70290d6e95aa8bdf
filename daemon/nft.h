/* SPDX-License-Identifier: MIT */
/* What the host's firewall means for us. Nothing is opened yet: the active firewall is recognised
 * and the exact line that opens a port is printed. Spec: host-network 4. */
#ifndef DAEMON_NFT_H
#define DAEMON_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nft_kind {
	NFT_NONE, /* nothing drops incoming packets, as far as can be seen */
	NFT_UFW,
	NFT_FIREWALLD,
	NFT_IPTABLES, /* the INPUT chain of an iptables table drops by policy or by its last rule */
	NFT_NFTABLES, /* the same of a base chain of nftables */
};

struct nft_firewall {
	enum nft_kind kind;
	/* NFT_NFTABLES: the chain that drops. */
	char family[8];
	char table[64];
	char chain[64];
	/* UDP ports that a rule opens for the mesh's addresses (100.64.0.0/10) alone: relays are reached from
	 * public ones. 0 = none. */
	uint16_t tailnet_only[4];
};

enum { NFT_HINT_MAX = 320 };

/* Finds the active firewall. Reads files and runs the list commands of the tools that are installed
 * (a second at most each): slow, for commands and for the helper thread. */
struct nft_firewall nft_detect(void);

/* The command that lets UDP 'port' in, with its final NUL ("sudo ufw allow 40000/udp"); "" for
 * NFT_NONE. Pure. Returns 'text'. */
char *nft_hint(char text[static NFT_HINT_MAX], struct nft_firewall fw, uint16_t port);
/* The same for a TCP port. */
char *nft_hint_tcp(char text[static NFT_HINT_MAX], struct nft_firewall fw, uint16_t port);

/* Is there such a rule for UDP 'port'? Pure. */
bool nft_is_tailnet_only(const struct nft_firewall *fw, uint16_t port);

/* The parts of nft_detect() that only read text. Pure; for tests. */

/* Finds in the JSON of "nft -j list ruleset" a base chain for input that drops by policy or by a
 * last rule without conditions. */
struct nft_firewall nft_parse_ruleset(const char *json, size_t size);
/* The same in the output of "iptables -S INPUT". */
struct nft_firewall nft_parse_iptables(const char *text);
/* ufw's user.rules: notes the ports in fw->tailnet_only. */
void nft_parse_ufw(struct nft_firewall *fw, const char *text);

const char *nft_name(enum nft_kind kind); /* "ufw", "firewalld", "iptables", "nftables", "none" */

#endif
