static const struct mfd_cell acme_cells[] = {
	{ .name = "acme-regulator", },
	{
		.name = "acme-rtc",
		.resources = acme_rtc_resources,
	},
	MFD_CELL_OF("acme-gpio", NULL, NULL, 0, 0, "acme,pmic-gpio"),
};
