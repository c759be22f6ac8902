static const struct of_device_id other_match[] = {
	{ .compatible = "toy,bus" },
	{ }
};
static void look(void) { of_find_matching_node(NULL, other_match); }
