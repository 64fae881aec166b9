"""What training costs: peaks of devices, floating-point operations of a token, energy and carbon."""
