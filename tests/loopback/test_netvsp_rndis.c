/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network VSP's RNDIS: what a guest may ask and set, and what it may not. */
#include <stdio.h>

#include "tests/loopback/netvsp_world.h"

static uint32_t number(struct world *world, uint32_t oid)
{
	uint32_t value = 0, bytes = sizeof(value);

	assert_int_equal(netvsp_guest_query(&world->guest, oid, &value, &bytes), RNDIS_STATUS_SUCCESS);
	assert_int_equal(bytes, sizeof(value));
	return value;
}

static uint32_t answer_u32(const struct netvsp_guest_control *answer, uint32_t at)
{
	uint32_t value;

	assert_true(at + sizeof(value) <= answer->bytes);
	memcpy(&value, answer->message + at, sizeof(value));
	return value;
}

/* ---- messages ---- */

static void initialize_says_what_there_is(void **state)
{
	struct world *world = *state;
	struct {
		struct rndis_header header;
		struct rndis_initialize body;
	} message = { { RNDIS_INITIALIZE, sizeof(message) }, { 77, 1, 0, 2048 } };
	struct rndis_initialize_complete complete;
	struct netvsp_guest_control *answer;

	world_open(world);
	world_share(world);
	message.body.major = 2;
	assert_int_equal(netvsp_guest_rndis(&world->guest, &message, sizeof(message), &answer), 0);
	assert_int_equal(answer_u32(answer, 12), RNDIS_STATUS_BAD_VERSION);
	free(answer);
	assert_int_equal(netvsp_guest_sub_channels(&world->guest, 1), -LIS_REFUSED);
	message.body.major = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(netvsp_guest_rndis(&world->guest, &message, sizeof(message), &answer),
				 0);
		assert_int_equal(answer->bytes, sizeof(struct rndis_header) + sizeof(complete));
		assert_int_equal(answer_u32(answer, 0), RNDIS_INITIALIZE | RNDIS_COMPLETION);
		memcpy(&complete, answer->message + sizeof(struct rndis_header), sizeof(complete));
		assert_int_equal(complete.request_id, 77);
		assert_int_equal(complete.status, RNDIS_STATUS_SUCCESS);
		assert_int_equal(complete.major, 1);
		assert_int_equal(complete.device_flags, RNDIS_DEVICE_CONNECTIONLESS);
		assert_int_equal(complete.medium, RNDIS_MEDIUM_802_3);
		assert_int_equal(complete.packets_per_message_max, 8);
		assert_int_equal(complete.packet_alignment_shift, 3);
		assert_true(complete.transfer_bytes_max >= 8 * 65553);
		free(answer);
	}
}

static void keep_alive_and_reset_are_answered(void **state)
{
	struct world *world = *state;
	struct {
		struct rndis_header header;
		uint32_t request_id;
	} message = { { RNDIS_KEEP_ALIVE, sizeof(message) }, 4711 };
	struct netvsp_guest_control *answer;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_rndis(&world->guest, &message, sizeof(message), &answer), 0);
	assert_int_equal(answer->bytes, 16);
	assert_int_equal(answer_u32(answer, 0), RNDIS_KEEP_ALIVE | RNDIS_COMPLETION);
	assert_int_equal(answer_u32(answer, 8), 4711);
	assert_int_equal(answer_u32(answer, 12), RNDIS_STATUS_SUCCESS);
	free(answer);
	message.header.type = RNDIS_RESET;
	assert_int_equal(netvsp_guest_rndis(&world->guest, &message, sizeof(message), &answer), 0);
	assert_int_equal(answer_u32(answer, 0), RNDIS_RESET | RNDIS_COMPLETION);
	assert_int_equal(answer_u32(answer, 8), RNDIS_STATUS_SUCCESS);
	assert_int_equal(answer_u32(answer, 12), 1);
	free(answer);
	assert_int_equal(number(world, OID_GEN_CURRENT_PACKET_FILTER), 0);
}

static void halt_ends_it_until_the_next_initialize(void **state)
{
	static const uint8_t frame[60] = { 2, 0, 0, 0, 0, 1 };
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	struct {
		struct rndis_header header;
		struct rndis_halt body;
	} message = { { RNDIS_HALT, sizeof(message) }, { 1 } };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_completion completion;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_send_control(guest, 5, &message, sizeof(message)), 0);
	assert_int_equal(netvsp_guest_wait(guest, 0, 5, &completion), 0);
	assert_int_equal(completion.message.rndis_packet_complete.status, NVSP_STATUS_SUCCESS);
	memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	world_settle(world);
	assert_null(guest->controls);
	assert_int_equal(guest->frame_count, 0);
	assert_int_equal(netvsp_guest_send_frame(guest, 0, &out), NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world->port.sent.count, 0);
	assert_int_equal(netvsp_guest_initialize(guest), 0);
	world_set_filter(world, FILTER_ALL);
	world_settle(world);
	assert_int_equal(guest->frame_count, 1);
	assert_int_equal(netvsp_guest_send_frame(guest, 0, &out), NVSP_STATUS_SUCCESS);
}

static void unknown_messages_are_refused_and_do_no_harm(void **state)
{
	static const uint32_t types[] = { 0, RNDIS_PACKET, RNDIS_INDICATE_STATUS, RNDIS_SET_EX, 10, 255,
					  RNDIS_COMPLETION | RNDIS_QUERY, UINT32_MAX };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		uint32_t message[16] = { types[i], sizeof(message), 1, 2, 3 };
		struct netvsp_guest_control *answer;

		assert_int_equal(netvsp_guest_rndis(&world->guest, message, sizeof(message), &answer),
				 -LIS_REFUSED);
	}
	assert_null(world->guest.controls);
	world_is_alive(world);
}

/* Each message that asks for something, in every length there is. */
static void messages_cut_short_are_refused_and_do_no_harm(void **state)
{
	static const struct {
		uint32_t type, bytes_min;
	} cases[] = {
		{ RNDIS_INITIALIZE, 24 }, { RNDIS_QUERY, 28 }, { RNDIS_SET, 28 }, { RNDIS_KEEP_ALIVE, 12 },
		{ RNDIS_RESET, 8 },
	};
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (uint32_t bytes = 1; bytes <= 40; bytes++) {
			uint32_t message[10] = { cases[i].type, bytes, 9, 1, 0 };
			struct netvsp_guest_control *answer;
			int err = netvsp_guest_rndis(guest, message, bytes, &answer);

			assert_int_equal(err, bytes < cases[i].bytes_min ? -LIS_REFUSED : 0);
			if (!err)
				free(answer);
			/* What is there, but says it is longer or shorter. */
			message[1] = bytes + 1;
			assert_int_equal(netvsp_guest_rndis(guest, message, bytes, &answer),
					 -LIS_REFUSED);
			message[1] = cases[i].bytes_min - 1;
			assert_int_equal(netvsp_guest_rndis(guest, message, bytes, &answer),
					 -LIS_REFUSED);
		}
	}
	world_is_alive(world);
}

static void a_message_of_control_has_its_bounds(void **state)
{
	static uint32_t message[1024] = { RNDIS_KEEP_ALIVE, sizeof(message), 1 };
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	struct netvsp_guest_completion completion;
	struct netvsp_guest_control *answer;
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_CONTROL, 0, sizeof(message) },
	};

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_rndis(guest, message, sizeof(message), &answer), 0);
	free(answer);
	/* In a section it is as good as anywhere. */
	netvsp_guest_write(&guest->send, 0, message, sizeof(message));
	assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 3, &nvsp, true), 0);
	assert_int_equal(netvsp_guest_wait(guest, 0, 3, &completion), 0);
	assert_int_equal(completion.message.rndis_packet_complete.status, NVSP_STATUS_SUCCESS);
	world_settle(world);
	free(netvsp_guest_take_control(guest));
	nvsp.rndis_packet.send_section_bytes++;
	assert_int_equal(netvsp_guest_send_nvsp(guest, 0, 3, &nvsp, true), 0);
	assert_int_equal(netvsp_guest_wait(guest, 0, 3, &completion), 0);
	assert_int_equal(completion.message.rndis_packet_complete.status,
			 NVSP_STATUS_INVALID_RNDIS_PACKET);
	world_is_alive(world);
}

static void control_on_a_sub_channel_is_refused(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint32_t message[3] = { RNDIS_KEEP_ALIVE, sizeof(message), 1 };
	struct nvsp_message nvsp = {
		.type = NVSP_SEND_RNDIS_PACKET,
		.rndis_packet = { NVSP_RNDIS_CONTROL, 0, sizeof(message) },
	};
	struct netvsp_guest_completion completion;

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	netvsp_guest_write(&guest->send, 0, message, sizeof(message));
	assert_int_equal(netvsp_guest_send_nvsp(guest, 1, 3, &nvsp, true), 0);
	assert_int_equal(netvsp_guest_wait(guest, 1, 3, &completion), 0);
	assert_int_equal(completion.message.rndis_packet_complete.status,
			 NVSP_STATUS_INVALID_RNDIS_PACKET);
	world_settle(world);
	assert_null(guest->controls);
}

/* ---- queries ---- */

static void every_oid_on_the_list_is_known(void **state)
{
	static const uint32_t only_set[] = {
		OID_GEN_NETWORK_LAYER_ADDRESSES, OID_GEN_RNDIS_CONFIG_PARAMETER, OID_GEN_LINK_PARAMETERS,
		OID_TCP_OFFLOAD_PARAMETERS, OID_GEN_RECEIVE_SCALE_PARAMETERS,
	};
	struct world *world = *state;
	uint32_t list[256], bytes = sizeof(list);

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_config(&world->guest, 1514, 0), 0);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_SUPPORTED_LIST, list, &bytes),
			 RNDIS_STATUS_SUCCESS);
	assert_int_equal(bytes % 4, 0);
	assert_true(bytes / 4 > 40);
	for (uint32_t i = 0; i < bytes / 4; i++) {
		uint8_t info[2048];
		uint32_t info_bytes = sizeof(info), status;
		bool readable = true;

		for (size_t n = 0; n < ARRAY_SIZE(only_set); n++)
			readable &= list[i] != only_set[n];
		for (uint32_t n = 0; n < i; n++)
			assert_int_not_equal(list[n], list[i]);
		status = netvsp_guest_query(&world->guest, list[i], info, &info_bytes);
		if (status != (readable ? RNDIS_STATUS_SUCCESS : RNDIS_STATUS_NOT_SUPPORTED))
			fail_msg("OID 0x%08x: 0x%x", list[i], status);
		assert_int_equal(!info_bytes, !readable || list[i] == OID_802_3_MULTICAST_LIST);
	}
}

static void the_list_grows_with_ndis(void **state)
{
	static const struct {
		uint32_t major, minor;
		bool has_6, has_6_30;
	} cases[] = { { 0, 0 }, { 5, 1 }, { 6, 1, true }, { 6, 30, true, true }, { 7, 0, true, true } };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nvsp_message message = {
			.type = NVSP_SEND_NDIS_VERSION,
			.ndis_version = { cases[i].major, cases[i].minor },
		};
		uint32_t list[256], bytes = sizeof(list);
		bool has_6 = false, has_6_30 = false;

		assert_int_equal(netvsp_guest_send_nvsp(&world->guest, 0, 0, &message, false), 0);
		assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_SUPPORTED_LIST, list, &bytes),
				 RNDIS_STATUS_SUCCESS);
		for (uint32_t n = 0; n < bytes / 4; n++) {
			has_6 |= list[n] == OID_TCP_OFFLOAD_PARAMETERS;
			has_6_30 |= list[n] == OID_GEN_RECEIVE_SCALE_PARAMETERS;
		}
		assert_int_equal(has_6, cases[i].has_6);
		assert_int_equal(has_6_30, cases[i].has_6_30);
	}
}

static void unknown_oids_are_not_supported(void **state)
{
	static const uint32_t oids[] = { 0, 1, OID_GEN_PHYSICAL_MEDIUM, OID_GEN_PROTOCOL_OPTIONS,
					 0xfd010101, UINT32_MAX };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(oids); i++) {
		uint8_t info[64] = { 0 };
		uint32_t bytes = sizeof(info);

		assert_int_equal(netvsp_guest_query(&world->guest, oids[i], info, &bytes),
				 RNDIS_STATUS_NOT_SUPPORTED);
		assert_int_equal(bytes, 0);
		assert_int_equal(netvsp_guest_set(&world->guest, oids[i], info, sizeof(info)),
				 RNDIS_STATUS_NOT_SUPPORTED);
	}
}

static void the_card_is_described(void **state)
{
	const struct world_config config = { .mtu_bytes = 9014 };
	struct world *world = world_again(state, &config);
	uint8_t info[256];
	uint32_t bytes = sizeof(info);
	uint64_t speeds[2];
	struct ndis_link_state link;

	world->port.base.bits_per_second = 40000000000u;
	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_802_3_PERMANENT_ADDRESS, info, &bytes), 0);
	assert_int_equal(bytes, 6);
	assert_memory_equal(info, world_mac, 6);
	bytes = sizeof(info);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_FRIENDLY_NAME, info, &bytes), 0);
	assert_int_equal(bytes, 8);
	assert_memory_equal(info, "n\0i\0c\0000\0", 8);
	bytes = sizeof(speeds);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_MAX_LINK_SPEED, speeds, &bytes), 0);
	assert_int_equal(speeds[0], 40000000000u);
	bytes = sizeof(link);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_LINK_STATE, &link, &bytes), 0);
	assert_int_equal(link.media_connect_state, 1);
	assert_int_equal(link.object.bytes, sizeof(link));
	assert_int_equal(link.send_bits_per_second, 40000000000u);
	assert_int_equal(number(world, OID_GEN_LINK_SPEED), 400000000);
	assert_int_equal(number(world, OID_GEN_MAXIMUM_FRAME_SIZE), 9000);
	assert_int_equal(number(world, OID_GEN_MAXIMUM_TOTAL_SIZE), 9014);
	assert_int_equal(number(world, OID_GEN_MAXIMUM_SEND_PACKETS), 8);
	assert_int_equal(number(world, OID_GEN_MEDIA_CONNECT_STATUS), RNDIS_MEDIA_CONNECTED);
	assert_int_equal(number(world, OID_GEN_CURRENT_PACKET_FILTER), FILTER_ALL);
	assert_int_equal(number(world, OID_GEN_TRANSMIT_BUFFER_SPACE), world->guest.send.bytes);
	assert_int_equal(number(world, OID_GEN_RECEIVE_BUFFER_SPACE), world->guest.receive.bytes);
	assert_int_equal(netvsp_guest_revoke(&world->guest, false), 0);
	assert_int_equal(number(world, OID_GEN_TRANSMIT_BUFFER_SPACE), 0);
}

static void statistics_count(void **state)
{
	static const uint8_t frame[100] = { 2, 0, 0, 0, 0, 1 };
	struct world *world = *state;
	struct netvsp_guest_out out = { .data = frame, .bytes = sizeof(frame) };
	uint64_t value;
	uint32_t bytes;

	world_ready(world, FILTER_ALL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(netvsp_guest_send_frame(&world->guest, 0, &out), NVSP_STATUS_SUCCESS);
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
		memory_port_queue(&world->port, frame, sizeof(frame), NULL);
	}
	world_settle(world);
	assert_int_equal(number(world, OID_GEN_XMIT_OK), 3);
	assert_int_equal(number(world, OID_GEN_RCV_OK), 6);
	bytes = sizeof(value);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_BYTES_XMIT, &value, &bytes), 0);
	assert_int_equal(value, 300);
	bytes = sizeof(value);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_BYTES_RCV, &value, &bytes), 0);
	assert_int_equal(value, 600);
	assert_int_equal(netvsp_status(world->netvsp).packets_sent, 3);
	assert_int_equal(netvsp_status(world->netvsp).bytes_received, 600);
}

/* ---- offloads ---- */

static struct ndis_offload offloads(struct world *world, uint32_t oid, uint32_t bytes_due)
{
	struct ndis_offload offload = { 0 };
	uint32_t bytes = sizeof(offload);

	assert_int_equal(netvsp_guest_query(&world->guest, oid, &offload, &bytes), RNDIS_STATUS_SUCCESS);
	assert_int_equal(bytes, bytes_due);
	assert_int_equal(offload.object.bytes, bytes_due);
	assert_int_equal(offload.object.type, NDIS_OBJECT_OFFLOAD);
	return offload;
}

static void offloads_come_in_the_versions_revision(void **state)
{
	static const struct {
		uint32_t version, bytes, revision;
	} cases[] = {
		{ NVSP_VERSION_1, 112, 1 }, { NVSP_VERSION_2, 112, 1 }, { NVSP_VERSION_4, 144, 2 },
		{ NVSP_VERSION_5, 156, 3 }, { NVSP_VERSION_6_1, 156, 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct world_config config = { .version = cases[i].version };
		struct world *world = world_again(state, &config);
		struct ndis_offload all, current;

		world_ready(world, FILTER_ALL);
		all = offloads(world, OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, cases[i].bytes);
		assert_int_equal(all.object.revision, cases[i].revision);
		assert_true(all.checksum.ipv4_tx & NDIS_CHECKSUM_TCP);
		assert_true(all.checksum.ipv6_tx & NDIS_CHECKSUM_UDP);
		assert_true(all.checksum.ipv4_rx & NDIS_CHECKSUM_IP);
		assert_true(all.lso_v2.ipv4_bytes_max > 60000);
		assert_true(all.lso_v2.ipv6_bytes_max > 60000);
		assert_int_equal(all.rsc_ipv4 | all.rsc_ipv6, 0);
		current = offloads(world, OID_TCP_OFFLOAD_CURRENT_CONFIG, cases[i].bytes);
		assert_int_equal(current.checksum.ipv4_tx & NDIS_CHECKSUM_TCP, 0);
		assert_int_equal(current.lso_v2.ipv4_bytes_max, 0);
	}
}

static uint32_t set_parameters(struct world *world, const struct ndis_offload_parameters *parameters)
{
	return netvsp_guest_set(&world->guest, OID_TCP_OFFLOAD_PARAMETERS, parameters,
				sizeof(*parameters));
}

static void offloads_are_switched_one_by_one(void **state)
{
	struct world *world = *state;
	struct ndis_offload_parameters wish = { .object = { NDIS_OBJECT_DEFAULT, 3, sizeof(wish) } };
	struct ndis_offload now;

	world_ready(world, FILTER_ALL);
	wish.tcp_ipv4_checksum = NDIS_OFFLOAD_TX;
	wish.udp_ipv6_checksum = NDIS_OFFLOAD_RX;
	wish.ipv4_checksum = NDIS_OFFLOAD_TX_RX;
	wish.lso_v2_ipv6 = NDIS_OFFLOAD_ENABLED;
	assert_int_equal(set_parameters(world, &wish), RNDIS_STATUS_SUCCESS);
	now = offloads(world, OID_TCP_OFFLOAD_CURRENT_CONFIG, 156);
	assert_int_equal(now.checksum.ipv4_tx & 0x150, NDIS_CHECKSUM_TCP | NDIS_CHECKSUM_IP);
	assert_int_equal(now.checksum.ipv4_rx & 0x150, NDIS_CHECKSUM_IP);
	assert_int_equal(now.checksum.ipv6_tx & 0x150, 0);
	assert_int_equal(now.checksum.ipv6_rx & 0x150, NDIS_CHECKSUM_UDP);
	assert_int_equal(now.lso_v2.ipv4_bytes_max, 0);
	assert_true(now.lso_v2.ipv6_bytes_max > 0);
	memset((uint8_t *)&wish + 4, 0, sizeof(wish) - 4);
	assert_int_equal(set_parameters(world, &wish), RNDIS_STATUS_SUCCESS);
	assert_true(offloads(world, OID_TCP_OFFLOAD_CURRENT_CONFIG, 156).lso_v2.ipv6_bytes_max > 0);
	wish.tcp_ipv4_checksum = wish.lso_v2_ipv6 = NDIS_OFFLOAD_DISABLED;
	assert_int_equal(set_parameters(world, &wish), RNDIS_STATUS_SUCCESS);
	now = offloads(world, OID_TCP_OFFLOAD_CURRENT_CONFIG, 156);
	assert_int_equal(now.checksum.ipv4_tx & 0x150, NDIS_CHECKSUM_IP);
	assert_int_equal(now.lso_v2.ipv6_bytes_max, 0);
	for (uint32_t bytes = 0; bytes < 20; bytes++)
		assert_int_equal(netvsp_guest_set(&world->guest, OID_TCP_OFFLOAD_PARAMETERS, &wish, bytes),
				 RNDIS_STATUS_INVALID_LENGTH);
	for (uint32_t bytes = 20; bytes < sizeof(wish); bytes++)
		assert_int_equal(netvsp_guest_set(&world->guest, OID_TCP_OFFLOAD_PARAMETERS, &wish, bytes),
				 RNDIS_STATUS_SUCCESS);
}

/* Only where guest, version and port all have it, and for the protocol that the port can. */
static void coalescing_is_offered_where_all_can(void **state)
{
	static const struct {
		uint32_t can_receive, version, capabilities, ipv4, ipv6;
	} cases[] = {
		{ NET_CAN_ALL, NVSP_VERSION_6_1, NVSP_CAPABILITY_RSC, 1, 1 },
		{ NET_CAN_ALL, NVSP_VERSION_6_1, 0, 0, 0 },
		{ NET_CAN_ALL, NVSP_VERSION_6, NVSP_CAPABILITY_RSC, 0, 0 },
		{ NET_CAN_CHECKSUM, NVSP_VERSION_6_1, NVSP_CAPABILITY_RSC, 0, 0 },
		{ 0, NVSP_VERSION_6_1, NVSP_CAPABILITY_RSC, 0, 0 },
		{ NET_CAN_CHECKSUM | NET_CAN_TCP_IPV4, NVSP_VERSION_6_1, NVSP_CAPABILITY_RSC, 1, 0 },
		{ NET_CAN_CHECKSUM | NET_CAN_TCP_IPV6, NVSP_VERSION_6_1, NVSP_CAPABILITY_RSC, 0, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct world_config config = {
			.can_receive = cases[i].can_receive, .version = cases[i].version,
			.capabilities = cases[i].capabilities,
		};
		struct world *world = world_again(state, &config);
		struct ndis_offload_parameters wish = {
			.object = { NDIS_OBJECT_DEFAULT, 3, sizeof(wish) },
			.rsc_ipv4 = NDIS_OFFLOAD_ENABLED, .rsc_ipv6 = NDIS_OFFLOAD_ENABLED,
		};
		struct ndis_offload offload;

		world_ready(world, FILTER_ALL);
		offload = offloads(world, OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, 156);
		assert_int_equal(offload.rsc_ipv4, cases[i].ipv4);
		assert_int_equal(offload.rsc_ipv6, cases[i].ipv6);
		assert_int_equal(set_parameters(world, &wish), RNDIS_STATUS_SUCCESS);
		offload = offloads(world, OID_TCP_OFFLOAD_CURRENT_CONFIG, 156);
		assert_int_equal(offload.rsc_ipv4, cases[i].ipv4);
		assert_int_equal(offload.rsc_ipv6, cases[i].ipv6);
		assert_int_equal(world->port.receive_can,
				 (cases[i].can_receive & NET_CAN_CHECKSUM) |
				 (cases[i].ipv4 ? NET_CAN_TCP_IPV4 : 0) |
				 (cases[i].ipv6 ? NET_CAN_TCP_IPV6 : 0));
		world_check(world);
		netvsp_guest_close(&world->guest, 0);
		assert_int_equal(world->port.receive_can, cases[i].can_receive & NET_CAN_CHECKSUM);
		world_check(world);
	}
}

/* ---- sets ---- */

static void a_filter_has_four_bytes(void **state)
{
	struct world *world = *state;
	uint64_t filter = NDIS_FILTER_PROMISCUOUS;

	world_ready(world, FILTER_ALL);
	for (uint32_t bytes = 0; bytes < 4; bytes++)
		assert_int_equal(netvsp_guest_set(&world->guest, OID_GEN_CURRENT_PACKET_FILTER, &filter,
						  bytes), RNDIS_STATUS_INVALID_LENGTH);
	assert_int_equal(number(world, OID_GEN_CURRENT_PACKET_FILTER), FILTER_ALL);
	assert_int_equal(netvsp_guest_set(&world->guest, OID_GEN_CURRENT_PACKET_FILTER, &filter, 8), 0);
	assert_int_equal(number(world, OID_GEN_CURRENT_PACKET_FILTER), NDIS_FILTER_PROMISCUOUS);
}

/* A parameter as Linux sends it. */
static uint32_t set_address(struct world *world, const char *name, uint32_t type, const char *value)
{
	uint8_t info[256] = { 0 };
	struct rndis_config_parameter parameter = {
		.name_offset = sizeof(parameter), .name_bytes = (uint32_t)strlen(name) * 2,
		.type = type, .value_offset = sizeof(parameter) + (uint32_t)strlen(name) * 2,
		.value_bytes = (uint32_t)strlen(value) * 2,
	};

	memcpy(info, &parameter, sizeof(parameter));
	for (size_t i = 0; name[i]; i++)
		info[parameter.name_offset + 2 * i] = (uint8_t)name[i];
	for (size_t i = 0; value[i]; i++)
		info[parameter.value_offset + 2 * i] = (uint8_t)value[i];
	return netvsp_guest_set(&world->guest, OID_GEN_RNDIS_CONFIG_PARAMETER, info,
				parameter.value_offset + parameter.value_bytes);
}

static void an_address_is_set_by_its_name(void **state)
{
	static const struct {
		const char *name, *value;
		uint32_t type, status;
	} wrong[] = {
		{ "NetworkAddress", "01155d000102", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddress", "ffffffffffff", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddress", "000000000000", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddress", "00155d00010", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddress", "00155d00010g", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddress", "00155d000102", RNDIS_CONFIG_INTEGER, RNDIS_STATUS_INVALID_DATA },
		{ "NetworkAddresS", "00155d000102", RNDIS_CONFIG_STRING, RNDIS_STATUS_NOT_SUPPORTED },
		{ "NetworkAddres", "00155d000102", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
		{ "", "", RNDIS_CONFIG_STRING, RNDIS_STATUS_INVALID_DATA },
	};
	struct world *world = *state;
	uint8_t mac[6];
	uint32_t bytes = sizeof(mac);

	world_ready(world, FILTER_ALL);
	assert_int_equal(set_address(world, "NetworkAddress", RNDIS_CONFIG_STRING, "00155dAbCdEf"), 0);
	assert_memory_equal(netvsp_status(world->netvsp).mac, "\x00\x15\x5d\xab\xcd\xef", 6);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(set_address(world, wrong[i].name, wrong[i].type, wrong[i].value),
				 wrong[i].status);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_802_3_CURRENT_ADDRESS, mac, &bytes), 0);
	assert_memory_equal(mac, "\x00\x15\x5d\xab\xcd\xef", 6);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_802_3_PERMANENT_ADDRESS, mac, &bytes), 0);
	assert_memory_equal(mac, world_mac, 6);
	netvsp_guest_close(&world->guest, 0);
	assert_memory_equal(netvsp_status(world->netvsp).mac, world_mac, 6);
}

/* Offsets and lengths in all their wrong combinations: refused, whatever else. */
static void lying_offsets_are_refused(void **state)
{
	static const uint32_t lies[] = { 0, 1, 19, 20, 21, 48, 95, 96, 97, 0x7fffffff, 0x80000000,
					 UINT32_MAX - 20, UINT32_MAX };
	struct world *world = *state;
	uint8_t info[96];

	world_ready(world, FILTER_ALL);
	for (size_t a = 0; a < ARRAY_SIZE(lies); a++) {
		for (size_t b = 0; b < ARRAY_SIZE(lies); b++) {
			struct rndis_config_parameter parameter = { lies[a], 28, 2, lies[b], 24 };
			struct {
				struct rndis_header header;
				struct rndis_request body;
				uint8_t info[96];
			} message = {
				{ RNDIS_SET, sizeof(message) },
				{ 1, OID_GEN_CURRENT_PACKET_FILTER, lies[a], lies[b], 0 },
			};
			struct netvsp_guest_control *answer;

			memset(info, 0x30, sizeof(info));
			memcpy(info, &parameter, sizeof(parameter));
			assert_int_not_equal(netvsp_guest_set(&world->guest, OID_GEN_RNDIS_CONFIG_PARAMETER,
							      info, sizeof(info)), 0);
			parameter = (struct rndis_config_parameter){ 20, lies[a], 2, 48, lies[b] };
			memcpy(info, &parameter, sizeof(parameter));
			assert_int_not_equal(netvsp_guest_set(&world->guest, OID_GEN_RNDIS_CONFIG_PARAMETER,
							      info, sizeof(info)), 0);
			assert_int_equal(netvsp_guest_rndis(&world->guest, &message, sizeof(message),
							    &answer), 0);
			free(answer);
		}
	}
	assert_memory_equal(netvsp_status(world->netvsp).mac, world_mac, 6);
	world_is_alive(world);
}

static void what_changes_nothing_may_be_set(void **state)
{
	static const uint32_t oids[] = { OID_GEN_CURRENT_LOOKAHEAD, OID_GEN_NETWORK_LAYER_ADDRESSES,
					 OID_GEN_LINK_PARAMETERS, OID_OFFLOAD_ENCAPSULATION,
					 OID_802_3_MULTICAST_LIST };
	struct world *world = *state;

	world_ready(world, FILTER_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(oids); i++) {
		uint8_t info[60] = { 0 };

		assert_int_equal(netvsp_guest_set(&world->guest, oids[i], info, sizeof(info)), 0);
		assert_int_equal(netvsp_guest_set(&world->guest, oids[i], info, 0), 0);
	}
}

static void rss_parameters_are_looked_at(void **state)
{
	const struct world_config config = { .channels_max = 4 };
	struct world *world = world_again(state, &config);
	struct {
		struct ndis_rss_parameters head;
		uint32_t table[128];
		uint8_t key[40];
	} wish = { .head = {
		.object = { NDIS_OBJECT_RSS_PARAMETERS, 2, sizeof(wish.head) },
		.hash_info = NDIS_HASH_TOEPLITZ | NDIS_HASH_TCP_IPV4,
		.table_bytes = sizeof(wish.table), .table_offset = offsetof(__typeof__(wish), table),
		.key_bytes = sizeof(wish.key), .key_offset = offsetof(__typeof__(wish), key),
	} };
	struct ndis_rss_capabilities capabilities;
	uint32_t bytes = sizeof(capabilities);
	const uint32_t oid = OID_GEN_RECEIVE_SCALE_PARAMETERS;

	world_ready(world, FILTER_ALL);
	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_RECEIVE_SCALE_CAPABILITIES,
					    &capabilities, &bytes), 0);
	assert_int_equal(bytes, 18);
	assert_int_equal(capabilities.receive_queue_count, 4);
	assert_int_equal(capabilities.table_count, 128);
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)), 0);
	wish.table[127] = 4;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.table[127] = 3;
	wish.head.key_bytes = 39;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.head.key_bytes = 40;
	wish.head.key_offset++;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.head.key_offset--;
	wish.head.table_bytes = 0;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.head.table_bytes = 510;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.head.table_bytes = UINT16_MAX - 3;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	wish.head.table_bytes = 4;
	wish.head.table_offset = UINT32_MAX;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, sizeof(wish)),
			 RNDIS_STATUS_INVALID_DATA);
	for (bytes = 0; bytes < 28; bytes++)
		assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, bytes),
				 RNDIS_STATUS_INVALID_LENGTH);
	wish.head.flags = NDIS_RSS_DISABLE;
	assert_int_equal(netvsp_guest_set(&world->guest, oid, &wish, 28), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(initialize_says_what_there_is),
		TEST(keep_alive_and_reset_are_answered),
		TEST(halt_ends_it_until_the_next_initialize),
		TEST(unknown_messages_are_refused_and_do_no_harm),
		TEST(messages_cut_short_are_refused_and_do_no_harm),
		TEST(a_message_of_control_has_its_bounds),
		TEST(control_on_a_sub_channel_is_refused),
		TEST(every_oid_on_the_list_is_known),
		TEST(the_list_grows_with_ndis),
		TEST(unknown_oids_are_not_supported),
		TEST(the_card_is_described),
		TEST(statistics_count),
		TEST(offloads_come_in_the_versions_revision),
		TEST(offloads_are_switched_one_by_one),
		TEST(coalescing_is_offered_where_all_can),
		TEST(a_filter_has_four_bytes),
		TEST(an_address_is_set_by_its_name),
		TEST(lying_offsets_are_refused),
		TEST(what_changes_nothing_may_be_set),
		TEST(rss_parameters_are_looked_at),
	};

	return cmocka_run_group_tests_name("netvsp_rndis", tests, NULL, NULL);
}
