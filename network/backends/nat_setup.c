// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The config of a NAT port, and what libslirp makes of it; and its forwards.
 */
#include "network/backends/nat_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/error.h"

#define NETWORK_IPV4_DEFAULT "10.0.2.0/24"
#define NETWORK_IPV6_DEFAULT "fec0::/64"
#define NETWORK_IPV4_BITS_MIN 8u
/* 16 addresses from the 15th on are DHCP's. */
#define NETWORK_IPV4_BITS_MAX 27u
#define NETWORK_IPV6_BITS 64u

#define HOST_ADDRESS 2u
#define NAME_SERVER_ADDRESS 3u
#define DHCP_FIRST_ADDRESS 15u

#define FORWARD_HOST_DEFAULT "127.0.0.1"

#define MTU_MIN 1280u /* the least that IPv6 works with */
#define MTU_MAX 65521u
#define HOSTNAME_BYTES_MAX 32u

/* ---- networks ---- */

/* "ADDRESS/BITS" */
static bool parse_network(const char *text, int family, void *out_address, unsigned *out_bits)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN];
	char rest;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = 0;
	return inet_pton(family, address, out_address) == 1 &&
	       sscanf(slash + 1, "%3u%c", out_bits, &rest) == 1;
}

static struct in_addr address_in(struct in_addr network, uint32_t number)
{
	return (struct in_addr){ network.s_addr | htonl(number) };
}

static int set_ipv4(const struct nat_config *config, SlirpConfig *setup, char *error)
{
	const char *text = config->ipv4 ? config->ipv4 : NETWORK_IPV4_DEFAULT;
	struct in_addr network;
	unsigned bits;
	uint8_t first;

	if (!parse_network(text, AF_INET, &network, &bits) || bits < NETWORK_IPV4_BITS_MIN ||
	    bits > NETWORK_IPV4_BITS_MAX)
		return net_port_error(
			error, -LIS_INVALID, "network '%s': write it like %s, with %u to %u bits",
			text, NETWORK_IPV4_DEFAULT, NETWORK_IPV4_BITS_MIN, NETWORK_IPV4_BITS_MAX);
	setup->vnetmask.s_addr = htonl(UINT32_MAX << (32 - bits));
	network.s_addr &= setup->vnetmask.s_addr;
	first = (uint8_t)(ntohl(network.s_addr) >> 24);
	if (!first || first == 127 || first >= 224)
		return net_port_error(error, -LIS_INVALID, "network '%s': no machine can be in it",
				      text);
	setup->in_enabled = true;
	setup->vnetwork = network;
	setup->vhost = address_in(network, HOST_ADDRESS);
	setup->vnameserver = address_in(network, NAME_SERVER_ADDRESS);
	setup->vdhcp_start = address_in(network, DHCP_FIRST_ADDRESS);
	return 0;
}

static int set_ipv6(const struct nat_config *config, SlirpConfig *setup, char *error)
{
	const char *text = config->ipv6 ? config->ipv6 : NETWORK_IPV6_DEFAULT;
	struct in6_addr network;
	unsigned bits;

	/* Guests make up the other 64 bits by themselves. */
	if (!parse_network(text, AF_INET6, &network, &bits) || bits != NETWORK_IPV6_BITS)
		return net_port_error(error, -LIS_INVALID,
				      "network '%s': write it like %s, with %u bits", text,
				      NETWORK_IPV6_DEFAULT, NETWORK_IPV6_BITS);
	memset(&network.s6_addr[8], 0, 8);
	if (IN6_IS_ADDR_MULTICAST(&network) || IN6_IS_ADDR_LINKLOCAL(&network) ||
	    IN6_IS_ADDR_UNSPECIFIED(&network))
		return net_port_error(error, -LIS_INVALID, "network '%s': no machine can be in it",
				      text);
	setup->in6_enabled = true;
	setup->vprefix_addr6 = setup->vhost6 = setup->vnameserver6 = network;
	setup->vprefix_len = NETWORK_IPV6_BITS;
	setup->vhost6.s6_addr[15] = HOST_ADDRESS;
	setup->vnameserver6.s6_addr[15] = NAME_SERVER_ADDRESS;
	return 0;
}

static void describe(const struct nat_config *config, const SlirpConfig *setup, char *line)
{
	char ipv4[INET_ADDRSTRLEN] = "", ipv6[INET6_ADDRSTRLEN] = "", bits[8] = "";

	if (setup->in_enabled) {
		inet_ntop(AF_INET, &setup->vnetwork, ipv4, sizeof(ipv4));
		snprintf(bits, sizeof(bits), "/%d", __builtin_popcount(setup->vnetmask.s_addr));
	}
	if (setup->in6_enabled)
		inet_ntop(AF_INET6, &setup->vprefix_addr6, ipv6, sizeof(ipv6));
	snprintf(line, NAT_LINE_BYTES, "user%s%s%s%s%s%s%s", *ipv4 ? ", " : "", ipv4, bits,
		 *ipv6 ? ", " : "", ipv6, *ipv6 ? "/64" : "",
		 config->restricted ? ", restricted" : "");
}

int nat_setup(const struct nat_config *config, SlirpConfig *out_setup, char *out_line, char *error)
{
	uint32_t mtu = config->mtu ? config->mtu : NAT_MTU_DEFAULT;
	SlirpConfig setup = {
		.version = SLIRP_CONFIG_VERSION_MAX,
		.restricted = config->restricted,
		.vhostname = config->hostname,
		.vdomainname = config->domain,
		/* Neither they nor the array are written to. */
		.vdnssearch = (const char **)(uintptr_t)config->search,
		/* What is longer than the guest's MTU is dealt with in nat_large.c. */
		.if_mtu = MTU_MAX,
		.if_mru = MTU_MAX,
		.disable_host_loopback = config->no_loopback,
	};
	int err = 0;

	if (config->no_ipv4 && config->no_ipv6)
		return net_port_error(error, -LIS_INVALID,
				      "a network without IPv4 and without IPv6");
	if (mtu < MTU_MIN || mtu > MTU_MAX)
		return net_port_error(error, -LIS_INVALID, "MTU %u: give %u to %u", mtu, MTU_MIN,
				      MTU_MAX);
	if (config->hostname && strlen(config->hostname) > HOSTNAME_BYTES_MAX)
		return net_port_error(error, -LIS_INVALID,
				      "host name '%.64s': longer than %u characters",
				      config->hostname, HOSTNAME_BYTES_MAX);
	if (!config->no_ipv4)
		err = set_ipv4(config, &setup, error);
	if (!err && !config->no_ipv6)
		err = set_ipv6(config, &setup, error);
	if (err)
		return err;
	describe(config, &setup, out_line);
	*out_setup = setup;
	return 0;
}

/* ---- forwards ---- */

union address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static bool parse_address(const char *text, uint16_t port, union address *out_address)
{
	memset(out_address, 0, sizeof(*out_address));
	if (inet_pton(AF_INET, text, &out_address->ipv4.sin_addr) == 1) {
		out_address->any.sa_family = AF_INET;
		out_address->ipv4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &out_address->ipv6.sin6_addr) == 1) {
		out_address->any.sa_family = AF_INET6;
		out_address->ipv6.sin6_port = htons(port);
		return true;
	}
	return false;
}

static int parse_forward(const SlirpConfig *setup, const struct nat_forward *forward,
			 const char *name, union address *out_host, union address *out_guest,
			 char *error)
{
	const char *host = forward->host_address ? forward->host_address : FORWARD_HOST_DEFAULT;
	const char *guest = forward->guest_address;

	if (!parse_address(host, forward->host_port, out_host))
		return net_port_error(error, -LIS_INVALID, "%s: '%.64s' is no address", name, host);
	if (!guest)
		guest = out_host->any.sa_family == AF_INET ? "0.0.0.0" : "::";
	if (!parse_address(guest, forward->guest_port, out_guest))
		return net_port_error(error, -LIS_INVALID, "%s: '%.64s' is no address", name,
				      guest);
	if (!forward->host_port || !forward->guest_port)
		return net_port_error(error, -LIS_INVALID, "%s: there is no port 0", name);
	/* libslirp makes one packet of both addresses. */
	if (out_host->any.sa_family != out_guest->any.sa_family)
		return net_port_error(error, -LIS_INVALID,
				      "%s: one address is of IPv4, the other of IPv6", name);
	if (out_host->any.sa_family == AF_INET ? !setup->in_enabled : !setup->in6_enabled)
		return net_port_error(error, -LIS_INVALID, "%s: its network has no %s", name,
				      out_host->any.sa_family == AF_INET ? "IPv4" : "IPv6");
	return 0;
}

static void name_forward(const struct nat_forward *forward, char name[112])
{
	snprintf(name, 112, "forward %s:%.64s:%u", forward->udp ? "udp" : "tcp",
		 forward->host_address ? forward->host_address : FORWARD_HOST_DEFAULT,
		 forward->host_port);
}

static socklen_t address_bytes(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->ipv4) : sizeof(address->ipv6);
}

int nat_open_forward(Slirp *slirp, const SlirpConfig *setup, const struct nat_forward *forward,
		     char *error)
{
	union address host, guest;
	char name[112];
	int err;

	name_forward(forward, name);
	err = parse_forward(setup, forward, name, &host, &guest, error);
	if (err)
		return err;
	if (!slirp_add_hostxfwd(slirp, &host.any, address_bytes(&host), &guest.any,
				address_bytes(&guest),
				(forward->udp ? SLIRP_HOSTFWD_UDP : 0) | SLIRP_HOSTFWD_V6ONLY))
		return 0;
	if (errno == EADDRINUSE)
		return net_port_error(error, -LIS_BUSY, "%s: that port is taken on this machine",
				      name);
	if (errno == EADDRNOTAVAIL)
		return net_port_error(error, -LIS_INVALID, "%s: this machine has no such address",
				      name);
	if (errno == EACCES || errno == EPERM)
		return net_port_error(error, -LIS_DENIED,
				      "%s: that port is for privileged programs", name);
	return net_port_errno(error, errno, name);
}

int nat_close_forward(Slirp *slirp, const struct nat_forward *forward, char *error)
{
	const char *host = forward->host_address ? forward->host_address : FORWARD_HOST_DEFAULT;
	union address address;
	char name[112];

	name_forward(forward, name);
	if (!parse_address(host, forward->host_port, &address) ||
	    slirp_remove_hostxfwd(slirp, &address.any, address_bytes(&address),
				  forward->udp ? SLIRP_HOSTFWD_UDP : 0))
		return net_port_error(error, -LIS_NOTFOUND, "%s: there is none", name);
	return 0;
}
