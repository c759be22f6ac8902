#define CCM "toy,soc1-ccm"
CLK_OF_DECLARE_DRIVER(toy_ccm, CCM, toy_ccm_init);
