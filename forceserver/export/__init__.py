"""Models as TorchScript, for engines that know metatomic and not this program."""
