static const char * const toy1_dt_compat[] __initconst = {
	"toy,soc1",
	NULL,
};

DT_MACHINE_START(TOY1, "Toy 1 (Device Tree)")
	.dt_compat	= toy1_dt_compat,
MACHINE_END
