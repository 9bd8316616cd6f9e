// Closing the last reference to an open file takes as long as it takes: that of a TCP socket that lingers (SO_LINGER) as long as its owner
// has said, hours if he likes. Where somebody else's files may be among what is closed (they wait in the queues of sockets that he has
// the other end of), a signal interrupts such a wait.
#pragma once

namespace joblet {

class CloseTimer {
  public:
    // Takes SIGALRM over, for the whole process; without it start() does nothing. False with errno.
    static bool prepare();

    // What is closed from now on makes nobody wait for long: SIGALRM comes after a few milliseconds and then each millisecond. Calls that
    // the kernel restarts after a signal go on.
    static void start();
    static void stop();
};

} // namespace joblet
