static const struct amba_id pl011_ids[] = {
	{
		.id	= 0x00041011,
		.mask	= 0x000fffff,
	},
	{ 0, 0 },
};
OF_EARLYCON_DECLARE(pl011, "arm,pl011", pl011_early_console_setup);
