"""A kernel of another language: it adds up the numbers of a cell."""

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel


class Calculator(Kernel):
    """Knows sums only."""

    implementation = "calculator"
    implementation_version = "1"
    banner = "A calculator"
    language_info = {"name": "calculator", "mimetype": "text/plain", "file_extension": ".txt"}

    def do_execute(self, code, silent, *args, **kwargs):
        """Print the sum."""
        if not silent:
            text = str(sum(float(word) for word in code.split()))
            self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": text})
        return {
            "status": "ok",
            "execution_count": self.execution_count,
            "payload": [],
            "user_expressions": {},
        }


IPKernelApp.launch_instance(kernel_class=Calculator)
