/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage protocol on a VMBus channel: one fixed packet shape, used for setting the channel up
 * and for every SCSI command. Both ends include this. Little-endian; all fields lie at multiples of
 * their size from the packet's start.
 *
 * A command travels as one EXECUTE_SRB packet, GPA-direct where it has data, and comes back as a
 * completion with the same transaction id whose operation is COMPLETE_IO. Everything the host sends
 * by itself has transaction id 0.
 *
 * Source for all below: [linux 6.1 drivers/scsi/storvsc_drv.c],
 * [openvmm storvsp_protocol/src/lib.rs], [openvmm storvsp/src/lib.rs].
 */
#ifndef OPENLIS_STORAGE_STORVSC_PROTOCOL_H
#define OPENLIS_STORAGE_STORVSC_PROTOCOL_H

#include <stdint.h>

#include "vmbus/interfaces.h"

#define STORVSC_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has its size on the wire")

#define STORVSC_SCSI_INTERFACE_ID VMBUS_INTERFACE_SCSI
#define STORVSC_IDE_INTERFACE_ID VMBUS_INTERFACE_IDE

#define STORVSC_VERSION(major, minor) ((uint16_t)((major) << 8 | (minor)))
#define STORVSC_VERSION_WIN6 STORVSC_VERSION(2, 0)      /* Server 2008 */
#define STORVSC_VERSION_WIN7 STORVSC_VERSION(4, 2)      /* from here on ENUMERATE_BUS */
#define STORVSC_VERSION_WIN8 STORVSC_VERSION(5, 1)      /* long request, sub-channels */
#define STORVSC_VERSION_BLUE STORVSC_VERSION(6, 0)      /* WIN8_1 in Linux */
#define STORVSC_VERSION_THRESHOLD STORVSC_VERSION(6, 2) /* WIN10 in Linux; WRITE SAME is trusted */

/* All versions, newest first: X(version). */
#define STORVSC_VERSIONS(X) \
	X(STORVSC_VERSION_THRESHOLD) \
	X(STORVSC_VERSION_BLUE) \
	X(STORVSC_VERSION_WIN8) \
	X(STORVSC_VERSION_WIN7) \
	X(STORVSC_VERSION_WIN6)

enum storvsc_operation {
	STORVSC_COMPLETE_IO = 1,             /* to the guest: the answer to anything */
	STORVSC_REMOVE_DEVICE = 2,           /* to the guest, unsolicited */
	STORVSC_EXECUTE_SRB = 3,
	STORVSC_RESET_LUN = 4,
	STORVSC_RESET_ADAPTER = 5,
	STORVSC_RESET_BUS = 6,
	STORVSC_BEGIN_INITIALIZATION = 7,
	STORVSC_END_INITIALIZATION = 8,
	STORVSC_QUERY_PROTOCOL_VERSION = 9,
	STORVSC_QUERY_PROPERTIES = 10,
	STORVSC_ENUMERATE_BUS = 11,          /* to the guest, unsolicited: LUNs came or went */
	STORVSC_FC_HBA_DATA = 12,            /* FCHBA_DATA in Linux */
	STORVSC_CREATE_SUB_CHANNELS = 13,
	STORVSC_EVENT_NOTIFICATION = 14,
};

/* storvsc_packet.flags: an answer is wanted; set by every driver in every packet. */
#define STORVSC_FLAG_REQUEST_COMPLETION 0x1u

/* storvsc_packet.status: NTSTATUS. Source: [openvmm storvsp_protocol NtStatus] */
#define STORVSC_STATUS_SUCCESS 0x00000000u
#define STORVSC_STATUS_BUFFER_OVERFLOW 0x80000005u
#define STORVSC_STATUS_DEVICE_BUSY 0x80000011u
#define STORVSC_STATUS_INVALID_PARAMETER 0xc000000du
#define STORVSC_STATUS_INVALID_DEVICE_REQUEST 0xc0000010u
#define STORVSC_STATUS_REVISION_MISMATCH 0xc0000059u
#define STORVSC_STATUS_DEVICE_DOES_NOT_EXIST 0xc00000c0u
#define STORVSC_STATUS_CANCELLED 0xc0000120u
#define STORVSC_STATUS_INVALID_DEVICE_STATE 0xc0000184u
#define STORVSC_STATUS_IO_DEVICE_ERROR 0xc0000185u

/* storvsc_scsi_request.srb_status: a code in the low six bits, and two flags. */
#define STORVSC_SRB_SUCCESS 0x01u
#define STORVSC_SRB_ABORTED 0x02u
#define STORVSC_SRB_ERROR 0x04u
#define STORVSC_SRB_BUSY 0x05u
#define STORVSC_SRB_INVALID_REQUEST 0x06u
#define STORVSC_SRB_DATA_OVERRUN 0x12u
#define STORVSC_SRB_INVALID_LUN 0x20u
#define STORVSC_SRB_CODE_MASK 0x3fu
#define STORVSC_SRB_QUEUE_FROZEN 0x40u
#define STORVSC_SRB_AUTOSENSE_VALID 0x80u

/* storvsc_scsi_request.srb_flags that either end looks at. */
#define STORVSC_SRB_FLAG_QUEUE_ACTION_ENABLE 0x00000002u
#define STORVSC_SRB_FLAG_DISABLE_AUTOSENSE 0x00000020u
#define STORVSC_SRB_FLAG_DATA_IN 0x00000040u
#define STORVSC_SRB_FLAG_DATA_OUT 0x00000080u
#define STORVSC_SRB_FLAG_NO_QUEUE_FREEZE 0x00000100u

/* storvsc_scsi_request.data_in, as SCSI_IOCTL_DATA_* in Windows */
#define STORVSC_DATA_OUT 0u
#define STORVSC_DATA_IN 1u
#define STORVSC_DATA_UNSPECIFIED 2u /* UNKNOWN_TYPE in Linux, used where there is no data */

#define STORVSC_CDB_BYTES 16u
#define STORVSC_SENSE_BYTES 20u      /* from 5.1 on; 18 before */
#define STORVSC_SENSE_BYTES_WIN6 18u
#define STORVSC_PAYLOAD_BYTES 20u

/*
 * Ends after the payload (0x24 bytes) below 5.1. A guest's initialization packets may have the long
 * form even before a version is agreed on (Linux 5.17 and later).
 */
struct storvsc_scsi_request {
	uint16_t length; /* of this struct */
	uint8_t srb_status;
	uint8_t scsi_status;

	uint8_t port_number;
	uint8_t path_id;
	uint8_t target_id;
	uint8_t lun;

	uint8_t cdb_length;
	uint8_t sense_bytes; /* sense_info_length */
	uint8_t data_in;     /* STORVSC_DATA_* */
	uint8_t reserved;

	uint32_t data_transfer_length; /* wanted, then done */

	union {
		uint8_t cdb[STORVSC_CDB_BYTES];
		uint8_t sense[STORVSC_PAYLOAD_BYTES];
	};

	/* from 5.1 on */
	uint16_t reserved2;
	uint8_t queue_tag;
	uint8_t queue_action;
	uint32_t srb_flags; /* STORVSC_SRB_FLAG_* */
	uint32_t timeout_s; /* time_out_value */
	uint32_t queue_sort_key;
};
STORVSC_ASSERT_SIZE(storvsc_scsi_request, 0x34);

#define STORVSC_REQUEST_BYTES_SHORT 0x24u
#define STORVSC_REQUEST_BYTES_LONG 0x34u

/* storvsc_channel_properties.flags */
#define STORVSC_SUPPORTS_MULTI_CHANNEL 0x1u

struct storvsc_channel_properties {
	uint32_t reserved;
	uint16_t sub_channels_max; /* max_channel_cnt */
	uint16_t reserved2;
	uint32_t flags;
	uint32_t transfer_bytes_max; /* Linux rounds it down to whole pages */
	uint32_t reserved3[2];
};
STORVSC_ASSERT_SIZE(storvsc_channel_properties, 24);

struct storvsc_protocol_version {
	uint16_t major_minor; /* STORVSC_VERSION_* */
	uint16_t revision;    /* of the sender's build; 0 */
};
STORVSC_ASSERT_SIZE(storvsc_protocol_version, 4);

/* Operation, flags and status come first in every packet. */
#define STORVSC_HEADER_BYTES 12u

struct storvsc_packet {
	uint32_t operation; /* enum storvsc_operation */
	uint32_t flags;
	uint32_t status; /* of an answer */
	union {
		struct storvsc_scsi_request request;
		struct storvsc_channel_properties properties;
		struct storvsc_protocol_version version;
		uint16_t sub_channel_count; /* CREATE_SUB_CHANNELS */
		uint8_t payload[STORVSC_REQUEST_BYTES_LONG];
	};
};
STORVSC_ASSERT_SIZE(storvsc_packet, 64);
_Static_assert(__builtin_offsetof(struct storvsc_packet, request) == STORVSC_HEADER_BYTES,
	       "the payload follows the header at once");
_Static_assert(__builtin_offsetof(struct storvsc_scsi_request, reserved2) ==
		       STORVSC_REQUEST_BYTES_SHORT,
	       "the short form ends after the payload");

#define STORVSC_PACKET_BYTES_SHORT (STORVSC_HEADER_BYTES + STORVSC_REQUEST_BYTES_SHORT)
#define STORVSC_PACKET_BYTES_LONG (STORVSC_HEADER_BYTES + STORVSC_REQUEST_BYTES_LONG)

/*
 * First bytes of the user data in the offer of an IDE accelerator channel, for old Windows drivers;
 * newer ones and Linux go by the instance id {channel, device, 0x8899, 0}.
 */
struct storvsc_offer_properties {
	uint16_t reserved;
	uint8_t path_id;
	uint8_t target_id;
	uint32_t reserved2;
	uint32_t flags;
	uint32_t reserved3[3];
};
STORVSC_ASSERT_SIZE(storvsc_offer_properties, 24);

#define STORVSC_OFFER_IDE_DEVICE 0x2u

#endif
