/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What devices there are on VMBus: the interface ids that offers carry. The one table; the protocol
 * headers of the devices take theirs from here.
 *
 * Source: [linux 7.3 include/linux/hyperv.h HV_*_GUID]; which devices are safe in an isolated
 * guest: [linux 7.3 drivers/hv/channel_mgmt.c vmbus_devs]. Those have been hardened against a host
 * that is not trusted; the others let the host see or do what an isolated guest is there to
 * prevent.
 */
#ifndef OPENLIS_VMBUS_INTERFACES_H
#define OPENLIS_VMBUS_INTERFACES_H

#include "vmbus/guid.h"

#define VMBUS_INTERFACE_SCSI GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb605, 0x72e2ffb1dc7f)
#define VMBUS_INTERFACE_IDE GUID(0x32412632, 0x86cb, 0x44a2, 0x9b5c, 0x50d1417354f5)
#define VMBUS_INTERFACE_FIBRE_CHANNEL GUID(0x2f9bcc4a, 0x0069, 0x4af3, 0xb76b, 0x6fd0be528cda)
#define VMBUS_INTERFACE_NETWORK GUID(0xf8615163, 0xdf3e, 0x46c5, 0x913f, 0xf2d2f965ed0e)
#define VMBUS_INTERFACE_RDMA GUID(0x8c2eaf3d, 0x32a7, 0x4b09, 0xab99, 0xbd1f1c86b501)
#define VMBUS_INTERFACE_PCI GUID(0x44c4f61d, 0x4444, 0x4400, 0x9d52, 0x802e27ede19f)
#define VMBUS_INTERFACE_VIDEO GUID(0xda0a7802, 0xe377, 0x4aac, 0x8e77, 0x0558eb1073f8)
#define VMBUS_INTERFACE_KEYBOARD GUID(0xf912ad6d, 0x2b17, 0x48ea, 0xbd65, 0xf927a61c7684)
#define VMBUS_INTERFACE_MOUSE GUID(0xcfa8b69e, 0x5b4a, 0x4cc0, 0xb98b, 0x8ba1a1f3f95a)
#define VMBUS_INTERFACE_BALLOON GUID(0x525074dc, 0x8985, 0x46e2, 0x8057, 0xa307dc18a502)
#define VMBUS_INTERFACE_SHUTDOWN GUID(0x0e0b6031, 0x5213, 0x4934, 0x818b, 0x38d90ced39db)
#define VMBUS_INTERFACE_TIMESYNC GUID(0x9527e630, 0xd0ae, 0x497b, 0xadce, 0xe80ab0175caf)
#define VMBUS_INTERFACE_HEARTBEAT GUID(0x57164f39, 0x9115, 0x4e78, 0xab55, 0x382f3bd5422d)
#define VMBUS_INTERFACE_KVP GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb827, 0x8a841e8c03e6)
#define VMBUS_INTERFACE_VSS GUID(0x35fa2e29, 0xea23, 0x4236, 0x96ae, 0x3a6ebacba440)
#define VMBUS_INTERFACE_FCOPY GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9ae7, 0x6b174977c192)
/* Of no use to guests other than Windows. */
#define VMBUS_INTERFACE_ACTIVATION GUID(0xf8e65716, 0x3cb3, 0x4a06, 0x9a60, 0x1889c5cccab5)
#define VMBUS_INTERFACE_ACTIVATION_2 GUID(0x3375baf4, 0x9e15, 0x4b30, 0xb765, 0x67acb10d607b)
#define VMBUS_INTERFACE_REMOTE_DESKTOP GUID(0x276aacf4, 0xac15, 0x426c, 0x98dd, 0x7521ad3f01fe)
#define VMBUS_INTERFACE_INITIAL_MACHINE GUID(0xc376c1c3, 0xd276, 0x48d2, 0x90a9, 0xc04748072c60)

/* X(interface id, what to call it in a log, is it safe in an isolated guest?) */
#define VMBUS_INTERFACES(X) \
	X(VMBUS_INTERFACE_SCSI, "SCSI controller", true) \
	X(VMBUS_INTERFACE_IDE, "IDE disk", false) \
	X(VMBUS_INTERFACE_FIBRE_CHANNEL, "Fibre Channel adapter", false) \
	X(VMBUS_INTERFACE_NETWORK, "network adapter", true) \
	X(VMBUS_INTERFACE_RDMA, "RDMA adapter", false) \
	X(VMBUS_INTERFACE_PCI, "PCI bus", true) \
	X(VMBUS_INTERFACE_VIDEO, "video adapter", false) \
	X(VMBUS_INTERFACE_KEYBOARD, "keyboard", false) \
	X(VMBUS_INTERFACE_MOUSE, "mouse", false) \
	X(VMBUS_INTERFACE_BALLOON, "dynamic memory", false) \
	X(VMBUS_INTERFACE_SHUTDOWN, "shutdown", true) \
	X(VMBUS_INTERFACE_TIMESYNC, "time synchronization", true) \
	X(VMBUS_INTERFACE_HEARTBEAT, "heartbeat", true) \
	X(VMBUS_INTERFACE_KVP, "key-value exchange", false) \
	X(VMBUS_INTERFACE_VSS, "backup", false) \
	X(VMBUS_INTERFACE_FCOPY, "file copy", false) \
	X(VMBUS_INTERFACE_ACTIVATION, "activation", false) \
	X(VMBUS_INTERFACE_ACTIVATION_2, "activation", false) \
	X(VMBUS_INTERFACE_REMOTE_DESKTOP, "remote desktop", false) \
	X(VMBUS_INTERFACE_INITIAL_MACHINE, "initial machine configuration", false)

#endif
