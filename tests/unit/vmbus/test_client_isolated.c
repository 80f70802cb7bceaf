// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What an isolated guest takes from its host, and what nobody takes.
 */
#include "tests/unit/vmbus/client_world.h"
#include "vmbus/interfaces.h"

/* Written down anew, not taken from the table under test. */
static const struct {
	struct guid interface_id;
	bool safe;
} devices[] = {
	{ GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb605, 0x72e2ffb1dc7f), true },  /* SCSI */
	{ GUID(0xf8615163, 0xdf3e, 0x46c5, 0x913f, 0xf2d2f965ed0e), true },  /* network */
	{ GUID(0x44c4f61d, 0x4444, 0x4400, 0x9d52, 0x802e27ede19f), true },  /* PCI */
	{ GUID(0x9527e630, 0xd0ae, 0x497b, 0xadce, 0xe80ab0175caf), true },  /* time */
	{ GUID(0x57164f39, 0x9115, 0x4e78, 0xab55, 0x382f3bd5422d), true },  /* heartbeat */
	{ GUID(0x0e0b6031, 0x5213, 0x4934, 0x818b, 0x38d90ced39db), true },  /* shutdown */
	{ GUID(0x32412632, 0x86cb, 0x44a2, 0x9b5c, 0x50d1417354f5), false }, /* IDE */
	{ GUID(0x2f9bcc4a, 0x0069, 0x4af3, 0xb76b, 0x6fd0be528cda), false }, /* Fibre Channel */
	{ GUID(0x8c2eaf3d, 0x32a7, 0x4b09, 0xab99, 0xbd1f1c86b501), false }, /* RDMA */
	{ GUID(0xda0a7802, 0xe377, 0x4aac, 0x8e77, 0x0558eb1073f8), false }, /* video */
	{ GUID(0xf912ad6d, 0x2b17, 0x48ea, 0xbd65, 0xf927a61c7684), false }, /* keyboard */
	{ GUID(0xcfa8b69e, 0x5b4a, 0x4cc0, 0xb98b, 0x8ba1a1f3f95a), false }, /* mouse */
	{ GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb827, 0x8a841e8c03e6), false }, /* KVP */
	{ GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9ae7, 0x6b174977c192), false }, /* file copy */
	{ GUID(0x35fa2e29, 0xea23, 0x4236, 0x96ae, 0x3a6ebacba440), false }, /* backup */
	{ GUID(0x525074dc, 0x8985, 0x46e2, 0x8057, 0xa307dc18a502), false }, /* balloon */
	{ GUID(0x276aacf4, 0xac15, 0x426c, 0x98dd, 0x7521ad3f01fe), false }, /* remote desktop */
	{ GUID(0x12345678, 0x1234, 0x1234, 0x1234, 0x123456789abc), false }, /* nobody's */
};

#define DEVICE_COUNT (sizeof(devices) / sizeof(devices[0]))

static void connect(struct port *port, bool isolated)
{
	const struct vmbus_client_config config = { .isolated = isolated };

	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_accepts(port, 0);
	assert_int_equal(vmbus_client_request_offers(&port->client), 0);
	port->read_count = port->posted_count = 0;
}

/* Offers one device; says whether the port got it. Its id went back to the host if not. */
static bool offer_is_taken(struct port *port, const struct vmbus_msg_offer_channel *offer)
{
	const struct vmbus_msg_channel *release;

	port->last_offered = NULL;
	host_sends(port, offer, sizeof(*offer));
	if (!port->last_offered) {
		release = port_reads(port, VMBUS_MSG_RELID_RELEASED, 12);
		assert_int_equal(release->channel_id, offer->channel_id);
	}
	port_reads_nothing(port);
	return port->last_offered;
}

static struct vmbus_msg_offer_channel offer_of(uint32_t device, uint16_t flags)
{
	struct vmbus_msg_offer_channel offer = make_offer(1 + device, (uint8_t)device, 0);

	offer.interface_id = devices[device].interface_id;
	offer.flags = flags;
	return offer;
}

static void an_isolated_guest_takes_safe_devices_only(void **state)
{
	struct port *port = *state;
	uint64_t declined = 0;

	connect(port, true);
	for (uint32_t i = 0; i < DEVICE_COUNT; i++) {
		const struct vmbus_msg_offer_channel offer =
			offer_of(i, VMBUS_OFFER_DEVICE_INTERFACE);

		assert_int_equal(offer_is_taken(port, &offer), devices[i].safe);
		declined += !devices[i].safe;
		assert_int_equal(port->client.counters.declined, declined);
	}
	assert_int_equal(violations(port), 0); /* every host offers them */
}

static void an_isolated_guest_takes_every_socket(void **state)
{
	struct port *port = *state;

	connect(port, true);
	for (uint32_t i = 0; i < DEVICE_COUNT; i++) {
		const struct vmbus_msg_offer_channel offer =
			offer_of(i, VMBUS_OFFER_TLNPI_PROVIDER | VMBUS_OFFER_NAMED_PIPE);

		assert_true(offer_is_taken(port, &offer));
	}
}

static void another_guest_takes_every_device(void **state)
{
	struct port *port = *state;

	connect(port, false);
	for (uint32_t i = 0; i < DEVICE_COUNT; i++) {
		const struct vmbus_msg_offer_channel offer = offer_of(i, 0);

		assert_true(offer_is_taken(port, &offer));
	}
	assert_int_equal(port->client.counters.declined, 0);
}

static void the_table_has_each_interface_once(void **state)
{
	static const struct guid table[] = {
#define ID(id, name, safe) id,
		VMBUS_INTERFACES(ID)
#undef ID
	};
	const size_t count = sizeof(table) / sizeof(table[0]);

	for (size_t i = 0; i < count; i++)
		for (size_t j = i + 1; j < count; j++)
			assert_int_not_equal(guid_compare(&table[i], &table[j]), 0);
}

static void an_isolated_guest_insists_on_5_2(void **state)
{
	struct port *port = *state;
	struct vmbus_client_config config = { .isolated = true };
	static const uint32_t asked[] = {
		VMBUS_VERSION_COPPER, VMBUS_VERSION_IRON, VMBUS_VERSION_WIN10_V5_2,
	};
	const struct vmbus_msg_version_response refusal = {
		.header.type = VMBUS_MSG_VERSION_RESPONSE,
	};

	config.version_max = VMBUS_VERSION_WIN10_V5_1;
	assert_int_equal(vmbus_client_connect(&port->client, &config), -LIS_INVALID);
	config.version_max = 0;
	config.version_min = VMBUS_VERSION_WIN8; /* asks for less than is safe */
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const struct vmbus_msg_initiate_contact *contact =
			port_reads(port, VMBUS_MSG_INITIATE_CONTACT, 0);

		assert_int_equal(contact->version, asked[i]);
		host_sends(port, &refusal, sizeof(refusal));
	}
	port_reads_nothing(port);
	assert_int_equal(port->connected, -LIS_REFUSED);

	config.version_min = VMBUS_VERSION_COPPER; /* more than that is fine */
	assert_int_equal(vmbus_client_connect(&port->client, &config), 0);
	host_sends(port, &refusal, sizeof(refusal));
	port_reads(port, VMBUS_MSG_INITIATE_CONTACT, 0);
	port_reads_nothing(port);
}

/* We never ask for a connection of that kind, so that no version makes such an offer right. */
static void confidential_channels_are_violations(void **state)
{
	static const uint32_t versions[] = { VMBUS_VERSION_WIN8, VMBUS_VERSION_IRON,
					     VMBUS_VERSION_COPPER };
	static const uint16_t flags[] = {
		VMBUS_OFFER_CONFIDENTIAL_MEMORY,
		VMBUS_OFFER_CONFIDENTIAL_RING,
		VMBUS_OFFER_CONFIDENTIAL_RING | VMBUS_OFFER_CONFIDENTIAL_MEMORY,
		VMBUS_OFFER_CONFIDENTIAL_MEMORY | VMBUS_OFFER_TLNPI_PROVIDER,
	};
	struct port *port = *state;

	for (size_t v = 0; v < sizeof(versions) / sizeof(versions[0]); v++) {
		port_fini(port);
		port_init(port);
		port_connects(port, versions[v]);
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
			const struct vmbus_msg_offer_channel offer = offer_of(0, flags[i]);

			assert_false(offer_is_taken(port, &offer));
			assert_int_equal(violations(port), 1);
		}
	}
	port_fini(port);
	port_init(port);
	connect(port, true);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		const struct vmbus_msg_offer_channel offer = offer_of(0, flags[i]);

		assert_false(offer_is_taken(port, &offer));
		assert_int_equal(violations(port), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PORT(an_isolated_guest_takes_safe_devices_only),
		WITH_PORT(an_isolated_guest_takes_every_socket),
		WITH_PORT(another_guest_takes_every_device),
		WITH_PORT(the_table_has_each_interface_once),
		WITH_PORT(an_isolated_guest_insists_on_5_2),
		WITH_PORT(confidential_channels_are_violations),
	};

	return cmocka_run_group_tests_name("client, isolated", tests, NULL, NULL);
}
