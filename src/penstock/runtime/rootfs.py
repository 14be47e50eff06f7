"""What a function sees of the file system: a minimal read-only root, made once, and each environment's mounts on it.

Runs in the zygote: standard library only. The host's own root stays at /.host while an environment is being made (its
code is bound from there) and is taken away before any of the function's code runs.
"""

from __future__ import annotations

import glob
import os
import shutil

from penstock.runtime import linux

HOST = "/.host"
IMAGE = "/.image"
TASK, LAYERS, RUNTIME, LANG = "/var/task", "/opt", "/var/runtime", "/var/lang"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC_FOLDERS = ("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/alternatives")
_ETC_COPIED = ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/protocols", "/etc/services")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{uid}:{uid}::/home/sbx_user1051:/sbin/nologin\n"


def enter_template(root: str, prefixes: list[str], site: str, packages: list[str], *, network: bool) -> None:
    """Make the root that all environments start from, at the empty folder `root`, and step into it.

    prefixes: folders shown read-only where they are (the interpreter). packages: names in `site`, or paths, shown in
    /var/runtime. The caller is in a mount namespace of its own. Raises OSError.
    """
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=16m")
    for folder in (HOST, IMAGE, TASK, LAYERS, RUNTIME, LANG, "/tmp", "/proc", "/dev", "/etc", "/home/sbx_user1051"):  # noqa: S108
        os.makedirs(root + folder, 0o755)
    for path in _SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _show(path, root + path)
    _make_sh_bash(root)
    for prefix in prefixes:
        if not prefix.startswith("/usr/"):
            _show(prefix, root + prefix)
    for name in packages:
        _show(os.path.join(site, name), f"{root}{RUNTIME}/{os.path.basename(name)}")
    _show(os.path.join(os.path.dirname(__file__), "python", "bootstrap.py"), f"{root}{RUNTIME}/bootstrap.py")
    os.mkdir(f"{root}{RUNTIME}/node_modules")  # what Node.js environments mount
    open(f"{root}{RUNTIME}/bootstrap.mjs", "w").close()
    for name in _DEVICES:
        open(f"{root}/dev/{name}", "w").close()
        linux.mount(f"/dev/{name}", f"{root}/dev/{name}", flags=linux.MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{root}/dev/{name}")
    _fill_etc(root, network=network)
    linux.pivot_root(root, root + HOST)
    os.chdir("/")
    linux.mount(
        "none", "/", flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    )


def _show(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        open(target, "w").close()
    linux.bind_read_only(source, target)


def _make_sh_bash(root: str) -> None:
    """On AWS /bin/sh is bash, and a `bootstrap` may begin with #!/bin/sh and say "set -o pipefail"."""
    shell, bash = os.path.realpath("/bin/sh"), os.path.realpath("/bin/bash")
    if os.path.isfile(bash) and shell != bash and os.path.isfile(root + shell):
        linux.bind_read_only(bash, root + shell)


def _fill_etc(root: str, *, network: bool) -> None:
    for path in (*_ETC_FOLDERS, *sorted(glob.glob("/etc/java-*-openjdk"))):
        if os.path.isdir(path):
            _show(path, root + path)
    for path in _ETC_COPIED + (("/etc/resolv.conf",) if network else ()):
        if os.path.exists(path):
            shutil.copyfile(path, root + path)
    files = {
        "passwd": _PASSWD.format(uid=993),
        "group": "root:x:0:\nsbx_user1051:x:993:\n",
        "hosts": "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    for name, text in files.items():
        with open(f"{root}/etc/{name}", "w") as f:
            f.write(text)


def enter_environment(
    code: str, layers: list[str], ephemeral_mb: int, shown: list[list[str]], *, own_proc: bool
) -> None:
    """Mount one environment's code, layers, /tmp and /proc, and take the host away. Raises OSError.

    code, layers: real paths on the host; a later layer's file hides an earlier one's. shown: what else of the host is
    seen where: /var/lang, /var/runtime. Call in a new mount namespace,
    as the first process of a new pid namespace when `own_proc`.
    """
    linux.bind_read_only(HOST + code, TASK)
    if len(layers) == 1:
        linux.bind_read_only(HOST + layers[0], LAYERS)
    elif layers:
        _merge([HOST + layer for layer in layers])
    for source, target in shown:
        linux.bind_read_only(HOST + source, target)
    _mount_tmp("/tmp", ephemeral_mb)  # noqa: S108
    if own_proc:
        _mount_proc("/proc")
    linux.detach(HOST)


def enter_image(image: str, ephemeral_mb: int, *, own_proc: bool) -> None:
    """Make a container image's files the root, with a /tmp, /proc and /dev of ours, and take the host away.

    image: its unpacked files, a real path on the host (`images.unpack` has seen to the places that are mounted on). Call
    as `enter_environment`. Raises OSError.
    """
    linux.bind_read_only(HOST + image, IMAGE)
    linux.mount("/dev", f"{IMAGE}/dev", flags=linux.MS_BIND | linux.MS_REC)
    for name in ("hosts", "resolv.conf"):
        if os.path.exists(f"/etc/{name}"):
            linux.mount(f"/etc/{name}", f"{IMAGE}/etc/{name}", flags=linux.MS_BIND)
    _mount_tmp(f"{IMAGE}/tmp", ephemeral_mb)  # noqa: S108
    if own_proc:
        _mount_proc(f"{IMAGE}/proc")
    os.chdir(IMAGE)
    linux.pivot_root(".", ".")  # puts the former root over the new one
    linux.detach(".")
    os.chdir("/")


def _mount_tmp(target: str, ephemeral_mb: int) -> None:
    # Inodes cost kernel memory too: one for each 2 KB is what mkfs would give.
    options = f"mode=1777,size={ephemeral_mb}m,nr_inodes={ephemeral_mb * 512}"
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def _mount_proc(target: str) -> None:
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", target, "proc", flags, "hidepid=2")


def _merge(layers: list[str]) -> None:
    try:
        lower = ":".join(layer.replace("\\", "\\\\").replace(":", "\\:") for layer in reversed(layers))
        linux.mount(
            "overlay", LAYERS, "overlay", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, f"lowerdir={lower}"
        )
    except OSError:  # no overlay in user namespaces before Linux 5.11
        linux.mount("tmpfs", LAYERS, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=300m")
        for layer in layers:
            shutil.copytree(layer, LAYERS, symlinks=True, dirs_exist_ok=True)
        flags = linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("none", LAYERS, flags=flags)
