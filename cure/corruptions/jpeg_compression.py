"""JPEG compression: Pillow saves the image at a quality and reads it again; grey images become grey JPEG."""

from io import BytesIO

from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile

from cure.core.corruption import Corruption
from cure.core.noise import PerImage
from cure.core.tensors import Images
from cure.data.image_filters import by_picture


def apply(x: Images, quality: int, noise: PerImage) -> Images:
    """Compress with Pillow's quality, 1 to 95."""

    def saved(picture: Image) -> Image:
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return JpegImageFile(BytesIO(buffer.getvalue()))

    return by_picture(x, saved)


CORRUPTION = Corruption("digital", (80, 65, 58, 50, 40), apply)
