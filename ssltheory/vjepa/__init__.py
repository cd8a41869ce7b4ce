"""V-JEPA in small: video, masks, networks, training and probes, from a laptop to several GPUs.

Read in this order: :mod:`~ssltheory.vjepa.videos` (what is seen), :mod:`~ssltheory.vjepa.masks` (what is hidden),
:mod:`~ssltheory.vjepa.model`, :mod:`~ssltheory.vjepa.training`, :mod:`~ssltheory.vjepa.probes`. The command is
``python -m ssltheory.vjepa --help``. It needs PyTorch; importing this name alone does not import it.
"""
