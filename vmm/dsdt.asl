/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The machine as ACPI tells it. What differs from machine to machine stands in a small table of facts
 * in guest memory (struct acpi_facts in acpi.h), so that this needs no patching.
 *
 * Source: [openvmm vm/acpi/src/dsdt.rs] and Hyper-V's generation 2 machines for the module device that
 * holds the windows and the VMBus device in it; [linux 6.1 drivers/hv/vmbus_drv.c] for what is looked for.
 */
DefinitionBlock ("", "DSDT", 2, "OPNLIS", "MACHINE", 1)
{
	OperationRegion (FACT, SystemMemory, 0x000E0100, 0x20)
	Field (FACT, QWordAcc, NoLock, Preserve)
	{
		LOWS, 64,	/* first window for VMBus devices: start, end (exclusive) */
		LOWE, 64,
		HIGS, 64,	/* second, above the memory */
		HIGE, 64
	}

	/*
	 * Both are a power-off: a guest that hibernates has its memory on its own disk. By \_S4 it sees
	 * that it may. Source: [linux 6.1 drivers/acpi/sleep.c], hv_is_hibernation_supported().
	 */
	Name (\_S4, Package () { 4, 4, 0, 0 })
	Name (\_S5, Package () { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		Device (VMOD)
		{
			Name (_HID, "ACPI0004")
			Name (_UID, 0)

			Name (WIND, ResourceTemplate ()
			{
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite, 0, 0, 0, 0, 1, , , LOWW)
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite, 0, 0, 0, 0, 1, , , HIGW)
			})

			Method (_CRS, 0, Serialized)
			{
				CreateQWordField (WIND, \_SB.VMOD.LOWW._MIN, LMIN)
				CreateQWordField (WIND, \_SB.VMOD.LOWW._MAX, LMAX)
				CreateQWordField (WIND, \_SB.VMOD.LOWW._LEN, LLEN)
				CreateQWordField (WIND, \_SB.VMOD.HIGW._MIN, HMIN)
				CreateQWordField (WIND, \_SB.VMOD.HIGW._MAX, HMAX)
				CreateQWordField (WIND, \_SB.VMOD.HIGW._LEN, HLEN)
				LMIN = LOWS
				LMAX = LOWE - 1
				LLEN = LOWE - LOWS
				HMIN = HIGS
				HMAX = HIGE - 1
				HLEN = HIGE - HIGS
				Return (WIND)
			}

			Device (VMBS)
			{
				/* A method, since iasl refuses a name of five letters. */
				Method (_HID, 0, NotSerialized)
				{
					Return ("VMBus")
				}
				Name (_DDN, "VMBUS")
				Name (_UID, 0)
				Name (_STA, 0x0F)
			}
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 0)
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 1, 8)
				IRQNoFlags () { 4 }
			})
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0070, 0x0070, 1, 2)
			})
		}
	}
}
