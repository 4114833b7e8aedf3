"""Scenes -> 3D pictures, by FURY 2 in a child process; by matplotlib where that cannot be. The only importer of FURY.

    render(scenes) -> [Picture, ...]         show(scene)

FURY draws through wgpu and Vulkan: a graphics driver that dies takes its process along, never the caller's. One child
draws many scenes, as starting it takes longer than a picture. A software driver (Mesa's lavapipe) is preferred where
there is one: it needs no display and no graphics card, and draws the same pixels with and without them.
A scene that the child dies of, or that takes longer than the limit, is drawn by matplotlib, with a warning; so are all
if FURY or Vulkan are not there. No picture fails a run.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_bids.errors import SpectraError
from spectra_bids.figures.scene_letters import lettered
from spectra_bids.figures.scene_model import Frame, Mesh, Picture, Scene, frame, lit, thinned

log = logging.getLogger("spectra_bids")

#: Seconds that may pass without a finished picture; the first one includes the start of the engine.
TIME_LIMIT = 90.0
#: Children that are started again after a scene has killed one.
_RESTARTS = 3
#: A vertex every so many pixels along a streamline: a bend of 40 pixels radius is then missed by a quarter of a pixel.
_PIXELS_PER_VERTEX = 9
#: The lamp at the camera, for tubes: as bright as their colours are where they face it.
_LAMP = 3.0
_INSTALL = (
    "For FURY's pictures: pip install fury==2.0.0, and a Vulkan driver; in software, without graphics card or display: "
    "apt-get install mesa-vulkan-drivers libvulkan1"
)
_CHILD = "import sys; sys.path.append(sys.argv[1]); from spectra_bids.figures import scenes; scenes.child(sys.argv[2])"
_SHOW = _CHILD.replace("child(sys.argv[2])", "window(sys.argv[2])")


def render(scenes: Sequence[Scene], *, engine: str = "auto", limit: float = TIME_LIMIT) -> list[Picture]:
    """Draw scenes; what FURY cannot draw is drawn by matplotlib, with a warning. Parameters as in `render_each`."""
    pictures, reason = render_each(scenes, engine=engine, limit=limit)
    if reason:
        log.warning("%s", reason)
    return pictures


def render_each(
    scenes: Sequence[Scene], *, engine: str = "auto", threads: int | None = None, limit: float = TIME_LIMIT
) -> tuple[list[Picture], str]:
    """Draw scenes.

    Parameters
    ----------
    scenes : sequence of Scene
        All that is wanted: one child process draws them one after the other.
    engine : {"auto", "matplotlib"}
        auto: FURY where it works.
    threads : int, optional
        Of the software driver; all cores that there are by default.
    limit : float, seconds
        Longest time without a finished picture.

    Returns
    -------
    list of Picture
        One per scene, in their order.
    str
        Why matplotlib drew some of them, in words; empty if it did not have to.

    """
    from spectra_bids.figures.scene_plain import draw_plainly

    drawn: dict[int, NDArray[np.uint8]] = {}
    said = ""
    if engine == "auto" and scenes:
        drawn, reason = _by_children(list(scenes), limit, threads)
        if reason:
            missing = len(scenes) - len(drawn)
            said = f"matplotlib draws {missing} of {len(scenes)} 3D pictures: {reason}. {_INSTALL}"
    out = []
    for k, scene in enumerate(scenes):
        pixels = drawn[k] if k in drawn else draw_plainly(scene)
        out.append(Picture(lettered(pixels, scene), scene.dpi, "fury" if k in drawn else "matplotlib"))
    return out, said


def show(scene: Scene) -> str:
    """Open a window in which a scene can be turned, until it is closed; returns why there was none, or nothing."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display ($DISPLAY and $WAYLAND_DISPLAY are empty)"
    with _handed_over([scene]) as folder, (folder / "log").open("wb") as errors:
        done = subprocess.run(_command(_SHOW, folder), stdin=subprocess.DEVNULL, stderr=errors, check=False)
        return "" if done.returncode == 0 else _reason(done.returncode, folder)


def _by_children(
    scenes: list[Scene], limit: float, threads: int | None = None
) -> tuple[dict[int, NDArray[np.uint8]], str]:
    """Pixels of the scenes that FURY could draw, and why it could not draw the others."""
    drawn: dict[int, NDArray[np.uint8]] = {}
    waiting = list(range(len(scenes)))
    reason = ""
    try:
        with _handed_over(scenes) as folder:
            for _ in range(1 + _RESTARTS):
                said, died = _one_child(folder, waiting, limit, threads)
                for k, failure in said.items():
                    reason = failure or reason
                    if not failure:
                        drawn[k] = np.load(folder / f"{k}.npy")
                waiting = [k for k in waiting if k not in said]
                reason = died or reason
                if not waiting or not said:
                    break
                waiting = waiting[1:]  # what the child died of would kill the next one too
    except SpectraError:  # SIGTERM's, which is an OSError too
        raise
    except OSError as error:  # no room for temporary files, no process to be had
        reason = str(error)
    return drawn, reason


@contextmanager
def _handed_over(scenes: list[Scene]) -> Iterator[Path]:
    """A temporary folder with the scenes for a child."""
    with tempfile.TemporaryDirectory(prefix="spectra_bids-scenes-", ignore_cleanup_errors=True) as name:
        (Path(name) / "scenes.pickle").write_bytes(pickle.dumps(scenes, protocol=pickle.HIGHEST_PROTOCOL))
        yield Path(name)


def _command(code: str, folder: Path) -> list[str]:
    """A Python that finds this very package, and nothing in the current directory."""
    return [sys.executable, "-P", "-c", code, str(Path(__file__).resolve().parents[2]), str(folder)]


def _one_child(
    folder: Path, waiting: list[int], limit: float, threads: int | None = None
) -> tuple[dict[int, str], str]:
    """Let one child draw: (scene -> "" or what went wrong), and why the child ended early, if it did."""
    (folder / "jobs.json").write_text(json.dumps(waiting))
    environment = {**os.environ, "RENDERCANVAS_FORCE_OFFSCREEN": "1"}
    environment.setdefault("XDG_RUNTIME_DIR", str(folder))
    environment.setdefault("LP_NUM_THREADS", str(threads or len(os.sched_getaffinity(0))))
    environment.setdefault("PYGFX_DATA_DIR", str(_font_cache(folder)))
    said: dict[int, str] = {}
    with (
        (folder / "log").open("wb") as errors,
        subprocess.Popen(
            _command(_CHILD, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        try:
            for line in _answers(process, limit):
                k, failure = json.loads(line)
                said[k] = failure
            status = process.wait(limit)
        except (TimeoutError, subprocess.TimeoutExpired):
            return said, f"a picture took longer than {limit:g} s"
        finally:
            process.kill()
    return said, "" if status == 0 else _reason(status, folder)


def _font_cache(folder: Path) -> Path:
    """Where pygfx keeps its list of fonts: with the other caches; by itself it would make ~/.pygfx in a fresh home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        (home / "pygfx").mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return folder
    return home / "pygfx"


def _answers(process: subprocess.Popen[bytes], limit: float) -> Iterator[bytes]:
    """Whole lines that a child prints; TimeoutError if the next one does not come in time."""
    assert process.stdout is not None
    handle = process.stdout.fileno()
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        due = time.monotonic() + limit
        while selector.select(max(0.0, due - time.monotonic())):
            chunk = os.read(handle, 65536)
            if not chunk:
                return
            *lines, held = (held + chunk).split(b"\n")
            if lines:
                due = time.monotonic() + limit
            yield from lines
    raise TimeoutError


def _reason(status: int, folder: Path) -> str:
    """Why a child ended, in words: its signal, or the last line that it wrote."""
    if status < 0:
        return f"the renderer was ended by {signal.Signals(-status).name}"
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else f"the renderer ended with status {status}"


# --- What follows runs in the child ---------------------------------------------------------------------------------


def child(name: str) -> None:
    """Draw the scenes that a folder holds; one JSON line [number, failure] on stdout for each, as it is done."""
    folder = Path(name)
    scenes: list[Scene] = pickle.loads((folder / "scenes.pickle").read_bytes())
    speak = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what drivers print is no answer
    _choose_adapter()
    for k in json.loads((folder / "jobs.json").read_text()):
        failure = ""
        try:
            np.save(folder / f"{k}.npy", _draw(scenes[k]))
        except Exception as error:  # the other scenes may do better
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps([k, failure]), file=speak, flush=True)


def window(name: str) -> None:
    """Show the one scene that a folder holds until its window is closed."""
    from fury import window as fury_window
    from fury.lib import DirectionalLight, OrthographicCamera

    scene: Scene = pickle.loads((Path(name) / "scenes.pickle").read_bytes())[0]
    content = _content(scene, turning=True)
    camera = OrthographicCamera()
    camera.add(DirectionalLight(intensity=_LAMP))
    content.main_scene.add(camera)
    manager = fury_window.ShowManager(scene=content, camera=camera, size=scene.size, title="spectra_viz")
    camera.show_object(content.main_scene, view_dir=scene.view.forward, up=scene.view.up)
    manager.start()


def _choose_adapter() -> None:
    """Take the software driver where there is one; fail in words where there is no driver at all."""
    from fury.lib import gfx_wgpu, wgpu

    adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] == "Vulkan"]
    if not adapters:
        raise SpectraError("no Vulkan driver was found")
    software = [a for a in adapters if a.info["adapter_type"] == "CPU"]
    gfx_wgpu.select_adapter((software or adapters)[0])


def _draw(scene: Scene) -> NDArray[np.uint8]:
    """Pixels (H, W, 4) of a scene."""
    from fury.lib import OffscreenCanvas, OrthographicCamera, Renderer

    content = _content(scene)
    canvas = OffscreenCanvas(size=scene.size, pixel_ratio=1)
    renderer = Renderer(canvas)
    renderer.pixel_scale = 1 if max(scene.size) > 4096 else 2  # drawn larger, then averaged: no jagged lines
    renderer.ppaa = "none"  # so there is nothing left to smooth
    camera = OrthographicCamera()
    _aim(camera, scene, frame(scene))
    content.main_scene.add(camera)
    canvas.request_draw(lambda: renderer.render(content.main_scene, camera))
    canvas.draw()
    pixels = np.asarray(renderer.snapshot(), np.float32) / np.float32(255)
    return _averaged(_straight(pixels) if scene.transparent else pixels, scene.size)


def _linear(srgb: NDArray[np.floating]) -> NDArray[np.float32]:
    """Amounts of light of sRGB colours, 0..1 (IEC 61966-2-1): what the engine wants for all but lines."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _straight(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels (H, W, 4) whose light is not dimmed by their own transparency any more, as PNG files want them."""
    light = np.minimum(_linear(pixels[..., :3]) / np.maximum(pixels[..., 3:], 1e-3), 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.concatenate([srgb, pixels[..., 3:]], axis=2).astype(np.float32)


def _averaged(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels (n H, n W, 4), 0..1, averaged to (H, W, 4), 0..255; a pixel's colour counts as much as it is opaque."""
    n = pixels.shape[0] // size[1]
    weighted = pixels * np.concatenate([np.repeat(pixels[..., 3:], 3, axis=2), np.ones_like(pixels[..., 3:])], axis=2)
    total = sum(weighted[i::n, j::n] for i in range(n) for j in range(n))
    colour = total[..., :3] / np.maximum(total[..., 3:], 1e-6)
    return np.asarray(np.round(255 * np.concatenate([colour, total[..., 3:] / n**2], axis=2)), np.uint8)


def _aim(camera: Any, scene: Scene, seen: Frame) -> None:
    """Place a camera before all that is seen, its lamp with it."""
    from fury.lib import DirectionalLight

    forward = np.array(scene.view.forward, float)
    away = seen.depth + 100
    camera.width, camera.height = (n * seen.scale for n in scene.size)
    camera.local.position = np.array(seen.centre) - forward * away
    camera.world.reference_up = scene.view.up
    camera.look_at(seen.centre)
    camera.depth_range = (away - seen.depth, away + seen.depth)
    camera.add(DirectionalLight(intensity=_LAMP))


def _content(scene: Scene, turning: bool = False) -> Any:
    """FURY's scene: streamlines and meshes; `turning`: glass is as clear from every side."""
    from fury import window as fury_window

    colour = (*scene.background, 1.0)
    content = fury_window.Scene(background=colour)
    if scene.transparent and not turning:
        content.main_scene.remove(*[c for c in content.main_scene.children if "Background" in type(c).__name__])
    step = max(0.2, _PIXELS_PER_VERTEX * frame(scene).scale)
    bundle, colours = thinned(scene, 1.5 * step if scene.tube_radius else step)
    if bundle.n_streamlines:
        if not scene.tube_radius:
            colours = lit(colours, bundle, scene.view)
        lines = np.split(bundle.points, bundle.offsets[1:-1])
        content.add(
            _tubes(scene, lines, colours, bundle.offsets) if scene.tube_radius else _strokes(scene, lines, colours)
        )
    for mesh in scene.meshes:
        content.add(_surface(mesh, scene, turning))
    return content


def _strokes(scene: Scene, lines: list[NDArray[np.float32]], colours: NDArray[np.float32]) -> Any:
    from fury import actor

    width = scene.width_of_lines
    made = actor.streamlines(
        lines, colors=colours, thickness=width, outline_thickness=0.0, opacity=scene.opacity, enable_picking=False
    )
    return _blended(made, scene.opacity)


def _tubes(
    scene: Scene, lines: list[NDArray[np.float32]], colours: NDArray[np.float32], offsets: NDArray[np.int64]
) -> Any:
    from fury import actor

    made = actor.streamtube(
        lines,
        colors=np.split(_linear(colours), offsets[1:-1]),
        radius=scene.tube_radius,
        segments=6,
        opacity=scene.opacity,
        enable_picking=False,
    )
    for part in [made, *made.children]:  # more than a few are a group
        if getattr(part, "material", None) is not None:
            part.material.specular = "#0c0c0c"  # highlights would be read as colours of the scale
    return _blended(made, scene.opacity)


def _surface(mesh: Mesh, scene: Scene, turning: bool) -> Any:
    """A mesh with the colours that its scene's camera sees; in a window one light tint from all sides."""
    from fury import actor

    tint = mesh.tint(scene.view)
    if turning and mesh.glass:
        tint[:, 3] = 0.3 * mesh.opacity
    tint[:, :3] = _linear(tint[:, :3])
    made = actor.surface(mesh.vertices, mesh.faces, colors=tint, material="basic", opacity=1.0)
    return _blended(made, 0.0 if mesh.glass else mesh.opacity)


def _blended(made: Any, opacity: float) -> Any:
    """What can be seen through, blended without regard to the order in which it is drawn."""
    if opacity < 1:
        for part in [made, *made.children]:
            if getattr(part, "material", None) is not None:
                part.material.alpha_mode = "weighted_blend"
                part.material.depth_write = False
    return made
