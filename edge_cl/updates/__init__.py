"""Bundles over the air, after The Update Framework (TUF), through python-tuf.

    publish    `edge_cl.updates.repository`: a folder of signed static files
    fetch      `edge_cl.updates.client`: what a device asks of it, refuses, and installs

Needs the extra `update`; nothing here is imported before it is asked for.

A repository, which any web server can hand out as it is:

    metadata/N.root.json      which keys sign for what; 1.root.json goes onto each device
    metadata/N.targets.json   the bundles, by name, length and digest
    metadata/N.snapshot.json  which targets.json is the newest
    metadata/timestamp.json   which snapshot.json is the newest, signed again and again
    targets/SHA256.NAME.edgecl

Transport needs no trust: every byte is checked against keys that the device has had from the
start. So plain HTTP, a USB stick or a mirror of someone else serve as well as HTTPS does.
"""
