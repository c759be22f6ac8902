#define TOY_CLK_SD 3
#define TOY_IRQ_SD 17
