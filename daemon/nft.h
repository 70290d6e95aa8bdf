/* SPDX-License-Identifier: MIT */
/* What the host's firewall means for us. Nothing is opened yet: the active firewall is recognised and the exact
 * line that opens a UDP port is printed. Spec: host-network 4. */
#ifndef DAEMON_NFT_H
#define DAEMON_NFT_H

#include <stddef.h>
#include <stdint.h>

enum nft_firewall {
	NFT_NONE,      /* nothing drops incoming packets */
	NFT_UFW,
	NFT_FIREWALLD,
	NFT_IPTABLES,  /* INPUT policy drop, or a final drop or reject, in an iptables table */
	NFT_NFTABLES,  /* the same in a base chain of nftables */
};

enum { NFT_HINT_MAX = 256 };

/* Finds the active firewall. Reads files and runs the list commands of the tools that are installed (a
 * second at most each): slow, for the helper thread. */
enum nft_firewall nft_detect(void);

/* The command that lets UDP 'port' in, with its final NUL ("sudo ufw allow 40000/udp"); "" for NFT_NONE.
 * Pure. Returns 'text'. */
char *nft_hint(char text[static NFT_HINT_MAX], enum nft_firewall fw, uint16_t port);
/* The same for a TCP port. */
char *nft_hint_tcp(char text[static NFT_HINT_MAX], enum nft_firewall fw, uint16_t port);
const char *nft_name(enum nft_firewall fw); /* "ufw", "firewalld", "iptables", "nftables", "none" */

#endif
