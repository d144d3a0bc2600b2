"""``python3 -m ngshare``: the service, as existing deployments start it."""

from ngshare.app import main

if __name__ == "__main__":
    main()
