"""Exports models as TorchScript, for engines that support metatomic."""
