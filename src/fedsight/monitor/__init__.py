"""What a training costs the machine it runs on."""
